"""What a user wrote, read in every way from replicas that do not have it.

A read that the router sent to such a replica is moved before it runs, whatever it looks
like; none of these shows anything old.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import connection, connections, router, transaction
from django.db.models import F
from psycopg import sql as psycopg_sql

from django_poolrouter import pools, scope, using_replica
from django_poolrouter.process.registry import registry
from django_poolrouter.routing import Scope, carry, current_scope
from tests.support.databases import configured
from tests.support.testapp.replicated import Shop
from tests.support.testapp.shop.models import Author, Note

COUNT = "SELECT count(*) FROM shop_author WHERE name = 'mine'"
PROCEDURES = {
    "postgresql": f"CREATE FUNCTION count_mine() RETURNS bigint STABLE LANGUAGE sql AS $${COUNT}$$",
    "mariadb": f"CREATE PROCEDURE count_mine() {COUNT}",
}


@pytest.fixture(scope="module", params=["postgresql", "mariadb"])
def made(request: pytest.FixtureRequest, django_db_blocker: Any) -> Shop:
    shop = Shop(request.param, request.getfixturevalue(request.param), "own_writes")
    with django_db_blocker.unblock(), configured(shop.databases()), scope():
        shop.seed()
        with connection.cursor() as cursor:
            cursor.execute(PROCEDURES[shop.kind])
        note = Note(object_id=Author.objects.get().pk, text="good")
        note.content_type = ContentType.objects.get_for_model(Author)
        note.save()
        connections.close_all()
        shop.servers.wait_for_replicas()
    return shop


@pytest.fixture
def use(made: Shop, use_databases: Any) -> Iterator[Callable[..., Shop]]:
    """Use the shop with these options; from then on its replicas show nothing new."""
    servers = made.servers

    def use(**options: Any) -> Shop:
        use_databases(made.databases(**{"MAX_LAG": None, **options}))
        with scope():
            Author.objects.filter(name="mine").delete()
            connections.close_all()
        servers.wait_for_replicas()
        for replica in servers.replicas:
            made.fall_behind(replica)
        return made

    with scope(Scope(sticky=False)):
        yield use
        connections.close_all()
    for replica in servers.replicas:
        made.catch_up(replica)
    servers.wait_for_replicas()


def written() -> dict[str, Any]:
    """Write as a request does, and return what its user brings along next time."""
    with scope() as entered:
        Author.objects.create(name="mine")
        carried = carry.pack(entered, registry.topology.clusters.values())
    connections.close_all()
    return carried


def brought(carried: dict[str, Any]) -> Any:
    return scope(carry.unpack(carried, registry.topology.clusters))


def cursor() -> Any:
    """Open one where the router sends reads of the model."""
    return connections[router.db_for_read(Author)].cursor()


def count_composed() -> int:
    with cursor() as opened:
        opened.execute(psycopg_sql.SQL(COUNT))
        return int(opened.fetchone()[0])


def count_streamed() -> int:
    with cursor() as opened:
        return int(next(opened.stream(COUNT))[0])


def count_copied() -> int:
    with cursor() as opened, opened.copy(f"COPY ({COUNT}) TO STDOUT") as copy:
        return int(copy.read_row()[0])


def count_called() -> int:
    with cursor() as opened:
        opened.callproc("count_mine")
        return int(opened.fetchone()[0])


def count_raw(what: str) -> int:
    raw = Author.objects.raw(f"SELECT id, name{what} FROM shop_author WHERE name = 'mine'")
    return len(list(raw))


READS: dict[str, Callable[[], int]] = {
    "a query": lambda: Author.objects.filter(name="mine").count(),
    "a name that is a word of writes": lambda: len(
        Author.objects.filter(name="mine").annotate(update=F("name"))
    ),
    "text that has a word of writes": lambda: count_raw(", 'to delete' AS todo"),
    "text that has a semicolon": lambda: count_raw(", 'one; two' AS many"),
    "a procedure": count_called,
}
OF_PSYCOPG = {
    "composed SQL": count_composed,
    "a stream": count_streamed,
    "a copy": count_copied,
}


@pytest.mark.parametrize("name", [*READS, *OF_PSYCOPG])
def test_read__sees_what_was_written_whatever_it_looks_like(use: Any, name: str) -> None:
    shop = use()
    if name in OF_PSYCOPG and shop.kind != "postgresql":
        pytest.skip("psycopg's")
    carried = written()
    assert isinstance(carried["default"], list)
    with brought(carried):
        assert (READS | OF_PSYCOPG)[name]() == 1


def test_read__that_may_be_a_write_counts_as_one_where_it_was_moved_to(use: Any) -> None:
    shop = use()
    doubtful = ", 1 AS delete" if shop.kind == "postgresql" else r", 'a\'b' AS doubtful"
    with brought(written()):
        assert count_raw(doubtful) == 1
        assert current_scope().wrote == {"default"}


@pytest.mark.parametrize("options", [{}, {"READ_YOUR_WRITES": "pin", "PIN_SECONDS": 60}])
def test_read__that_was_decided_before_the_write_is_moved(use: Any, options: Any) -> None:
    use(**options)
    with scope():
        raw = Author.objects.raw("SELECT id, name FROM shop_author WHERE name = 'mine'")
        note = Note.objects.get()
        Author.objects.update(name="mine")
        assert list(raw)
        assert note.target.name == "mine"  # from where the note is from, and no router is asked
        with using_replica():
            assert not Author.objects.filter(name="mine").exists()
        Author.objects.update(name="Ada")


def test_pin__of_a_transaction_holds_without_pin_seconds(use: Any) -> None:
    """Nothing else protects what is committed after the position was wanted."""
    use(PIN_SECONDS=0, MAX_LAG=60)
    with scope() as entered, transaction.atomic():
        Author.objects.create(name="mine")
        carried = carry.pack(entered, registry.topology.clusters.values())
    assert isinstance(carried["default"], float)
    with brought(carried):
        assert Author.objects.filter(name="mine").exists()


def test_copy__from_a_replica_that_is_down_is_made_elsewhere(use: Any) -> None:
    shop = use()
    if shop.kind != "postgresql":
        pytest.skip("psycopg's")
    with scope():
        count = Author.objects.filter(name="mine").count()
    with scope():
        alias = router.db_for_read(Author)
        connections.close_all()
        pools[alias].clear()  # an idle connection would be sent the COPY, which is not repeated
        shop.servers.signal(alias, signal.SIGKILL)
        try:
            assert count_copied() == count
        finally:
            connections.close_all()
            shop.servers.restart(alias)
