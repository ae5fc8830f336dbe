"""The traps of routing in Django, by their numbers, on replicated PostgreSQL and MariaDB.

Replicas stand still where a test says so: what is read there then is old for sure.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import unittest
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from io import StringIO
from typing import Any

import django
import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.core import signing
from django.core.cache import caches
from django.core.cache.backends.db import DatabaseCache
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import connection, connections, models, transaction
from django.db.utils import Error
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.test import AsyncClient, Client
from django.test.testcases import DatabaseOperationForbidden
from django.urls import path

from django_poolrouter import pools, scope, using_primary, using_replica
from django_poolrouter.checks.routing import check_settings
from django_poolrouter.process.registry import registry
from django_poolrouter.routing import Scope, current_scope
from django_poolrouter.stores import COOKIE, SALT
from django_poolrouter.test import assert_routed_to
from tests.support.databases import ENGINES, configured
from tests.support.testapp.orders.models import Line, Order
from tests.support.testapp.shop.models import Author, Book, Note, Tag
from tests.support.testapp.site import Site, where, witness

pytestmark = pytest.mark.every_pair

REPLICAS = {"replica1", "replica2"}
# What PostgreSQL refuses there, and how.
STANDBYS_CANNOT = (
    "CREATE TEMPORARY TABLE trap (n int)",
    "LISTEN trap",
    "SELECT txid_current()",
    "SELECT id FROM shop_tag FOR UPDATE",
)
CANNOT = r"cannot (execute|assign|use)"
TAKE_LOCK = {
    "postgresql": "SELECT pg_try_advisory_lock(13)",
    "mariadb": "SELECT GET_LOCK('trap', 0)",
}
REFUSED = r"read.only transaction|READ ONLY transaction|readonly database|read-only"
# What stops a replica from applying what it gets, and what lets it go on.
STANDSTILL = {
    "postgresql": ("SELECT pg_wal_replay_pause()", "SELECT pg_wal_replay_resume()"),
    "mariadb": ("STOP SLAVE SQL_THREAD", "START SLAVE SQL_THREAD"),
}


@pytest.fixture(scope="module", params=["postgresql", "mariadb"])
def made(request: pytest.FixtureRequest, django_db_blocker: Any) -> Site:
    """The apps on two clusters, migrated and with rows."""
    site = Site(request.param, request.getfixturevalue(request.param), "traps")
    with django_db_blocker.unblock(), configured(site.databases()), scope():
        site.migrate()
        call_command("createcachetable", "cache_table", database="default", verbosity=0)
        site.seed()
        connections.close_all()
    return site


@pytest.fixture
def use(made: Site, use_databases: Any) -> Callable[..., None]:
    settings = {
        "MIDDLEWARE": ["django_poolrouter.middleware.RoutingMiddleware"],
        "ROOT_URLCONF": __name__,
        "ALLOWED_HOSTS": ["testserver"],
    }
    return lambda stock=False, routers=None, **more: use_databases(
        made.databases(stock=stock, **(routers or {})), **{**settings, **more}
    )


@pytest.fixture
def shop(made: Site, use: Callable[..., None]) -> Iterator[Site]:
    """The site, with a scope as of a thread that did nothing yet."""
    with scope(Scope(sticky=False)):
        use()
        yield made
        connections.close_all()
    made.wait()


def look_at_servers() -> None:
    """Learn how far the replicas are behind, as a process does that reads for a while."""
    for cluster in registry.topology.clusters.values():
        for alias in (cluster.primary, *cluster.replicas) if cluster.prober else ():
            cluster.prober.look(alias)


@contextmanager
def standstill(site: Site) -> Iterator[None]:
    """Stop all replicas from applying what they get; have them all equal again afterwards."""
    stop, go_on = STANDSTILL[site.kind]
    site.wait()
    look_at_servers()
    for node in site.servers.replicas:
        site.servers.sql(node, stop)
    try:
        yield
    finally:
        for node in site.servers.replicas:
            site.servers.sql(node, go_on)
        site.wait()


def make(site: Site, title: str = "made") -> Book:
    """Make a book as another user does; every replica has it."""
    with scope():
        book = Book.objects.create(title=title, author=site.author)
    site.wait()
    return book


def change(book: Book, **values: Any) -> None:
    """Change a book as another user does."""
    with scope():
        Book.objects.filter(pk=book.pk).update(**values)


def now(book: Book) -> Book:
    """Return the book as it is."""
    return Book.objects.using("default").get(pk=book.pk)


# -- 1, 2: which replica ----------------------------------------------------------------


@pytest.mark.parametrize(
    "read",
    [
        lambda s: list(Book.objects.iterator()),
        lambda s: Book.objects.in_bulk([s.book.pk]),
        lambda s: list(s.author.books.all()),
    ],
    ids=["iterator", "in_bulk", "reverse"],
)
def test_trap_01__two_questions_for_one_query_take_one_turn(shop: Site, read: Any) -> None:
    assert where(lambda: [read(shop) for _ in range(6)]) == ["replica1", "replica2"] * 3


def test_trap_02__one_scope_sees_one_replica(shop: Site) -> None:
    for _ in range(2):
        with scope():
            pages = where(lambda: [(Book.objects.count(), Book.objects.first()) for _ in range(3)])
            assert len(pages) == 6
            assert len(set(pages)) == 1


# -- 3, 4: save() of what came from a replica -------------------------------------------


@pytest.mark.parametrize("load", ["only", "defer", "only_async"])
def test_trap_03__save_after_a_partial_read_leaves_other_columns_alone(
    shop: Site, load: str
) -> None:
    book = make(shop)
    other = Author.objects.using("default").create(name="Grace")
    with standstill(shop), scope():
        change(book, author=other)
        query = Book.objects.defer("author") if load == "defer" else Book.objects.only("title")
        mine = query.get(pk=book.pk)
        assert mine._state.db in REPLICAS
        mine.title = "mine"
        with witness() as ran:
            async_to_sync(mine.asave)() if load == "only_async" else mine.save()
        assert set(ran.aliases) == {"default"}
        assert not any("author_id" in sql.partition("WHERE")[0] for _, sql in ran)
        assert (now(book).title, now(book).author_id) == ("mine", other.pk)
        assert mine._state.db == "default"


def test_trap_03__a_relation_does_not_count_as_the_object_itself(shop: Site) -> None:
    """Only ``save()`` and ``delete()`` of an object ask for it and its own model."""
    book = Book.objects.get(pk=shop.book.pk)
    book.tags.add(shop.tag)
    assert book._state.db in REPLICAS


def test_trap_04__a_full_save_writes_every_column_as_django_always_does(
    shop: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """No router can know what was meant; the log says so, and there are two ways out."""
    book = make(shop)
    with standstill(shop):
        change(book, title="newer")
        with scope(), caplog.at_level(logging.DEBUG, "django_poolrouter.router"):
            old = Book.objects.get(pk=book.pk)
            old.save()
        assert now(book).title == "made"
        assert "shop.Book: default (writes go to the primary; the object was read from" in (
            caplog.text
        )

        change(book, title="newer")
        with scope():
            Book.objects.get(pk=book.pk).save(update_fields=["author"])
        assert now(book).title == "newer"
        with scope(), using_primary():
            Book.objects.get(pk=book.pk).save()
        assert now(book).title == "newer"


# -- 5, 6, 7: transactions --------------------------------------------------------------


def test_trap_05__reads_in_a_transaction_see_its_writes(shop: Site) -> None:
    with standstill(shop), transaction.atomic():
        book = Book.objects.create(title="mine", author=shop.author)
        assert Book.objects.get(pk=book.pk) == book
        Note(text="x", content_type_id=1, object_id=book.pk).full_clean(exclude=["content_type"])
        author = Author.objects.create(name="new")
        Book(title="x", author=author).full_clean()
        assert where(Order.objects.count) == ["orders1"]
    with scope(), standstill(shop):
        with scope():
            author = Author.objects.create(name="unseen")
        with pytest.raises(ValidationError, match=r"does not exist|not a valid choice"):
            Book(title="x", author=author).full_clean()


def test_trap_06__atomic_requests_is_warned_of(shop: Site, use: Any) -> None:
    for alias in ("default", "replica1"):
        connections.settings[alias]["ATOMIC_REQUESTS"] = True
    found = [m for m in check_settings() if m.id in ("poolrouter.W001", "poolrouter.W004")]
    assert sorted(m.id for m in found if m.id) == ["poolrouter.W001", "poolrouter.W004"]
    assert all(m.hint for m in found)


def test_trap_07__atomic_means_default_and_the_log_says_what_it_misses(
    shop: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "django_poolrouter.router")
    with suppress(ZeroDivisionError), transaction.atomic():
        order = Order.objects.create(number=7)
        raise ZeroDivisionError
    assert Order.objects.using("orders").filter(pk=order.pk).exists()
    assert "a write to 'orders' is not in the transaction on 'default'" in caplog.text
    caplog.clear()
    with suppress(ZeroDivisionError), transaction.atomic(using="orders"):
        order = Order.objects.create(number=7)
        raise ZeroDivisionError
    assert not Order.objects.using("orders").filter(pk=order.pk).exists()
    assert "is not in the transaction" not in caplog.text


# -- 8: generic relations ---------------------------------------------------------------

GENERIC_WRITES: dict[str, Callable[[Book], object]] = {
    "create": lambda b: b.notes.create(text="x"),
    "add": lambda b: b.notes.add(Note(text="x"), bulk=False),
    "bulk_create": lambda b: b.notes.bulk_create([Note(text="x", target=b)]),
    "update": lambda b: b.notes.update(text="y"),
    "update_filtered": lambda b: b.notes.filter(text="x").update(text="y"),
    "get_or_create": lambda b: b.notes.get_or_create(text="z"),
    "update_or_create": lambda b: b.notes.update_or_create(text="z"),
    "delete_filtered": lambda b: b.notes.filter(text="y").delete(),
    "set": lambda b: b.notes.set([]),
    "clear": lambda b: b.notes.clear(),
}


@pytest.mark.parametrize("stock", [False, True], ids=["pooled", "stock"])
@pytest.mark.parametrize("name", GENERIC_WRITES)
def test_trap_08__managers_of_generic_relations_write_to_the_primary(
    made: Site, use: Any, name: str, stock: bool
) -> None:
    use(stock=stock)
    with scope():
        book = Book.objects.get(pk=make(made).pk)
        assert book._state.db in REPLICAS
        book.notes.count()  # looks up the content type
        with using_replica():
            assert set(where(lambda: GENERIC_WRITES[name](book))) == {"default"}


def test_trap_08__locks_through_generic_relations_are_on_the_primary(shop: Site) -> None:
    book = Book.objects.get(pk=shop.book.pk)
    book.notes.count()  # looks up the content type
    with transaction.atomic(), using_replica():
        assert where(lambda: list(book.notes.select_for_update())) == ["default"]


def test_trap_08__content_types_are_made_on_the_primary(shop: Site) -> None:
    tag = Tag.objects.get(pk=shop.tag.pk)
    assert tag._state.db in REPLICAS
    kind = ContentType.objects.get_for_model(Tag)
    # As if it were not there yet.
    ContentType.objects.using("default").filter(pk=kind.pk).update(model="other")
    shop.wait()
    ContentType.objects.clear_cache()
    try:
        Note(text="x", target=tag)
        count = ContentType.objects.using("default").filter(app_label="shop", model="tag").count()
        assert count == 1
        with scope():
            assert ContentType.objects.get_for_model(Tag)._state.db == "default"
    finally:
        ContentType.objects.using("default").filter(app_label="shop", model="tag").delete()
        ContentType.objects.using("default").filter(pk=kind.pk).update(model="tag")
        ContentType.objects.clear_cache()


def test_trap_08__generic_foreign_keys_read_where_their_object_came_from(shop: Site) -> None:
    """Django asks no router; it is a read, and as old as the object itself."""
    note = Note.objects.get(object_id=shop.book.pk)
    alias = note._state.db
    assert alias in REPLICAS
    assert set(where(lambda: note.target)) == {alias}


@pytest.mark.skipif(django.VERSION < (6, 1), reason="fetch modes came with Django 6.1")
def test_trap_08__fetching_for_peers_writes_nothing(shop: Site) -> None:
    with scope():
        books = list(Book.objects.only("title").fetch_mode(models.FETCH_PEERS))
        assert set(where(lambda: books[0].author_id)) == {books[0]._state.db}
        assert set(where(books[0].save)) == {"default"}


# -- 9, 10, 11: sessions, relations, migrations -----------------------------------------


def login_view(request: Any) -> HttpResponse:
    request.session[SESSION_KEY] = "1"
    return HttpResponse()


def who_view(request: Any) -> JsonResponse:
    return JsonResponse({"user": request.session.get(SESSION_KEY)})


def cookie_view(request: Any) -> HttpResponse:
    return HttpResponse(str(Book.objects.count() > 0))


def stream_view(request: Any) -> StreamingHttpResponse:
    if "write" in request.GET:
        Tag.objects.update_or_create(name="streamed")
    return StreamingHttpResponse(f"{where(Book.objects.count)[0]}\n" for _ in range(3))


def threads_view(request: Any) -> JsonResponse:
    """Tell where a thread of one's own reads, after a write."""
    Tag.objects.update_or_create(name="threaded")
    with ThreadPoolExecutor(1) as executor:
        own = executor.submit(read_and_close).result()
    return JsonResponse({"own": own, "here": where(Book.objects.count)})


async def async_view(request: Any) -> JsonResponse:
    """Tell where everything that an async view may start reads, after a write."""
    if "write" in request.GET:
        await Tag.objects.aupdate_or_create(name="async")
    found: dict[str, Any] = {}
    with witness() as ran:
        await asyncio.gather(Book.objects.acount(), Book.objects.acount())
        assert [book async for book in Book.objects.aiterator()]
        assert [book async for book in Book.objects.all()]
        found["awaited"] = sorted(set(ran.aliases))
    found["to_thread"] = await asyncio.to_thread(read_and_close)
    found["scope"] = id(current_scope())
    return JsonResponse(found)


def read_and_close() -> list[str]:
    try:
        return where(Book.objects.count)
    finally:
        connections.close_all()


urlpatterns = [
    path("login", login_view),
    path("who", who_view),
    path("cookie", cookie_view),
    path("stream", stream_view),
    path("threads", threads_view),
    path("async", async_view),
]


def test_trap_09__who_logged_in_is_known_at_the_next_request(made: Site, use: Any) -> None:
    """Even where nothing pins, and where the client keeps none of our cookies."""
    use(
        routers={"default": {"READ_YOUR_WRITES": "off"}},
        MIDDLEWARE=[
            "django_poolrouter.middleware.RoutingMiddleware",
            "django.contrib.sessions.middleware.SessionMiddleware",
        ],
    )
    client = Client()
    with standstill(made):
        client.get("/login")
        assert client.get("/who").json() == {"user": "1"}


def test_trap_09__what_is_read_back_at_once_stays_on_the_primary(shop: Site, settings: Any) -> None:
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.db.DatabaseCache",
            "LOCATION": "cache_table",
        }
    }
    cache = caches["default"]
    assert isinstance(cache, DatabaseCache)
    ContentType.objects.clear_cache()
    with using_replica(), standstill(shop):
        assert where(lambda: ContentType.objects.get_for_model(Book)) == ["default"]
        assert set(where(lambda: cache.set("key", "value"))) == {"default"}
        assert cache.get("key") == "value"
        assert where(User.objects.count)[0] in REPLICAS


def test_trap_10__relations_within_a_cluster_only(shop: Site) -> None:
    author, book = Author.objects.get(pk=shop.author.pk), Book(title="made")
    book.author = author  # a replica's
    book.save()
    book.tags.set(Tag.objects.all())
    assert set(where(lambda: book.tags.create(name=f"new {shop.kind} 10"))) == {"default"}
    line = Line.objects.get(pk=shop.line.pk)
    with pytest.raises(ValueError, match="the current database router prevents this relation"):
        line.order = Order.from_db("default", ["id", "number"], [1, 1])


@pytest.mark.parametrize("alias", ["replica1", "orders1"])
def test_trap_11__migrate_and_dumpdata_of_a_replica_are_refused(shop: Site, alias: str) -> None:
    primary = {"replica1": "default", "orders1": "orders"}[alias]
    told = f"'{alias}' is a replica of '{primary}' and replays its changes. "
    for command in ("migrate", "dumpdata"):
        with pytest.raises(CommandError, match=f"{told}Use --database={primary}."):
            call_command(command, database=alias, verbosity=0)
    out = StringIO()
    call_command("dumpdata", "shop.Tag", database="default", stdout=out)
    assert '"red"' in out.getvalue()


# -- 12, 13, 14: SQL --------------------------------------------------------------------


def write_on(alias: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute("UPDATE shop_tag SET name = name")


@pytest.mark.parametrize("pool", [True, False], ids=["pooled", "not pooled"])
def test_trap_12__sessions_of_replicas_are_read_only(
    made: Site, use_databases: Any, pool: bool
) -> None:
    """Not because the server is: these aliases lead to the primary."""
    databases = made.databases()
    for database in databases.values():
        database.update(made.servers.settings("primary", database["NAME"]))
        database["OPTIONS"] = {"pool": pool}
    databases["replica2"]["ROUTER"]["READ_ONLY"] = False
    use_databases(databases)
    for _ in range(2):  # the second time out of the pool
        with pytest.raises(Error, match=REFUSED):
            write_on("replica1")
        with pytest.raises(Error, match=REFUSED), transaction.atomic(using="replica1"):
            write_on("replica1")
        Tag.objects.using("replica1").first()
        connections.close_all()
    write_on("default")
    write_on("replica2")


def test_trap_12__a_superuser_is_refused_too(mariadb: Any, use_databases: Any) -> None:
    """MariaDB's read_only does not hold for SUPER; the session's own does."""
    mariadb.create_database("super")
    mariadb.sql("primary", "CREATE TABLE super.t (id int)")
    mariadb.sql("primary", "GRANT ALL ON *.* TO 'root2'@'%' IDENTIFIED BY 'x'")
    mariadb.wait_for_replicas()
    database = {**mariadb.settings("replica1", "super"), "USER": "root2", "PASSWORD": "x"}
    database["ENGINE"] = ENGINES["mariadb"]
    use_databases(
        {"default": {**database}, "copy": {**database, "ROUTER": {"REPLICA_OF": "default"}}}
    )
    with pytest.raises(Error, match=REFUSED), connections["copy"].cursor() as cursor:
        cursor.execute("INSERT INTO t VALUES (1)")


def test_trap_12__sessions_of_sqlite_are_read_only_too(use_databases: Any, tmp_path: Any) -> None:
    database = {"ENGINE": ENGINES["sqlite"], "NAME": tmp_path / "db"}
    use_databases({"default": database, "copy": {**database, "ROUTER": {"REPLICA_OF": "default"}}})
    with connections["default"].cursor() as cursor:
        cursor.execute("CREATE TABLE t (id int)")
    for _ in range(2):
        with pytest.raises(Error, match=REFUSED), connections["copy"].cursor() as cursor:
            cursor.execute("INSERT INTO t VALUES (1)")
        connections["copy"].close()


def test_trap_12__a_cleared_session_is_still_read_only(postgresql: Any, use_databases: Any) -> None:
    database = postgresql.settings("primary", "postgres")
    database |= {"ENGINE": ENGINES["postgresql"], "OPTIONS": {"pool": {"reset": "session"}}}
    use_databases({"default": database, "copy": {**database, "ROUTER": {"REPLICA_OF": "default"}}})
    for _ in range(2):
        with connections["copy"].cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid(), current_setting('transaction_read_only')")
            assert cursor.fetchone()[1] == "on"
        connections["copy"].close()


def test_trap_12__raw_sql_that_writes_is_refused_and_the_error_says_what_to_do(
    shop: Site,
) -> None:
    with pytest.raises(Error, match=REFUSED) as caught:
        list(Tag.objects.raw("DELETE FROM shop_tag WHERE id = -1 RETURNING *"))
    [note] = caught.value.__notes__
    assert "is a replica of 'default'. Do not name a database" in note
    with using_primary():
        assert list(Tag.objects.raw("DELETE FROM shop_tag WHERE id = -1 RETURNING *")) == []


def test_trap_13__what_a_standby_cannot_do_runs_on_the_primary(shop: Site) -> None:
    with transaction.atomic(), using_replica():
        assert where(lambda: list(Book.objects.select_for_update())) == ["default"]
    if shop.kind == "postgresql":
        for sql in STANDBYS_CANNOT:
            with pytest.raises(Error, match=CANNOT), connections["replica1"].cursor() as cursor:
                cursor.execute(sql)
            with using_replica(), connection.cursor() as cursor:
                cursor.execute(sql)


def test_trap_13__advisory_locks_are_the_primarys(shop: Site) -> None:
    """A standby has locks of its own, which keep nobody else out."""

    def is_free(alias: str) -> bool:
        try:
            return pools[alias].execute(TAKE_LOCK[shop.kind]) == [(True,)]
        finally:
            connections.close_all()

    with using_replica(), connection.cursor() as cursor:
        assert where(lambda: cursor.execute(TAKE_LOCK[shop.kind])) == ["default"]
        assert cursor.fetchone() == (True,)
        with ThreadPoolExecutor(1) as executor:
            assert [executor.submit(is_free, a).result() for a in ("default", "replica1")] == [
                False,
                True,
            ]
        connection.close()


def test_trap_14__subqueries_go_where_the_query_goes(shop: Site) -> None:
    authors = Author.objects.filter(name="Ada")
    query = lambda: list(Book.objects.filter(author__in=authors))  # noqa: E731
    with scope():
        [alias] = where(query)
        assert alias in REPLICAS
        Tag.objects.update_or_create(name="written")
        assert where(query) == ["default"]
        with using_replica():
            assert where(query)[0] in REPLICAS


# -- 15: tests of projects (test_test_runner runs whole ones) ----------------------------


def test_trap_15__a_mirror_sees_the_transaction_of_the_test(shop: Site) -> None:
    for alias in REPLICAS:
        connections[alias].creation.set_as_test_mirror(connections["default"].settings_dict)

    class Tests(django.test.TestCase):
        databases = frozenset({"default", *REPLICAS})

        def test_mirror(self) -> None:
            Tag.objects.create(name="of the test")
            for alias in REPLICAS:
                assert Tag.objects.using(alias).filter(name="of the test").exists()
            with assert_routed_to(*REPLICAS):
                assert Tag.objects.filter(name="of the test").exists()
            with assert_routed_to("default"), transaction.atomic():
                assert Tag.objects.filter(name="of the test").exists()

        def test_alias_that_is_not_named(self) -> None:
            with pytest.raises(DatabaseOperationForbidden, match="'orders1'"):
                Order.objects.using("orders1").count()

    result = unittest.TestResult()
    unittest.TestLoader().loadTestsFromTestCase(Tests).run(result)
    assert [trace for _, trace in (*result.errors, *result.failures)] == []
    assert result.testsRun == 2
    assert not Tag.objects.using("default").filter(name="of the test").exists()


# -- 16, 17: async and streams ----------------------------------------------------------


@pytest.mark.parametrize("write", [False, True])
def test_trap_16__all_that_an_async_view_starts_is_in_its_scope(shop: Site, write: bool) -> None:
    url = "/async?write" if write else "/async"
    outer = current_scope()
    found = async_to_sync(AsyncClient().get)(url).json()
    places = {*found["awaited"], *found["to_thread"]}
    assert len(places) == 1
    assert places == {"default"} if write else places < REPLICAS
    assert current_scope() is outer
    assert found["scope"] != id(outer)
    # The next request is a stranger's.
    assert set(async_to_sync(AsyncClient().get)("/async").json()["awaited"]) < REPLICAS


def test_trap_16__iterating_on_the_event_loop_is_in_the_transaction_of_the_caller(
    made: Site, use: Any
) -> None:
    """Nothing else than the transaction leads to the primary here."""
    use(routers={"default": {"READ_YOUR_WRITES": "off"}})

    async def titles() -> list[str]:
        return [book.title async for book in Book.objects.aiterator()]

    with scope():
        with transaction.atomic():
            assert where(async_to_sync(titles)) == ["default"]
        assert where(async_to_sync(titles))[0] in REPLICAS


def test_trap_16__a_thread_of_ones_own_is_a_scope_of_its_own(shop: Site) -> None:
    found = Client().get("/threads").json()
    assert found["here"] == ["default"]
    assert found["own"][0] in REPLICAS


def test_trap_16__scopes_of_threads_never_meet(shop: Site) -> None:
    start = threading.Barrier(4)

    def work(writes: bool) -> set[str]:
        start.wait()
        try:
            with scope():
                if writes:
                    Tag.objects.filter(name="red").update(name="red")
                return {alias for _ in range(5) for alias in where_here(Book.objects.count)}
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as executor:
        found = list(executor.map(work, [True, False, True, False]))
    assert found[0] == found[2] == {"default"}
    assert {*found[1], *found[3]} <= REPLICAS


def where_here(work: Callable[[], object]) -> list[str]:
    """As ``where``, of the thread's own connections alone."""
    seen: list[str] = []

    def note(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        seen.append(context["connection"].alias)
        return execute(sql, params, many, context)

    for each in connections:
        connections[each].execute_wrappers.append(note)
    try:
        work()
    finally:
        for each in connections:
            connections[each].execute_wrappers.remove(note)
    return seen


def test_trap_17__streams_are_produced_in_the_scope_of_their_request(shop: Site) -> None:
    outer = current_scope()
    response: Any = Client().get("/stream?write")
    assert list(response.streaming_content) == [b"default\n"] * 3
    assert current_scope() is outer
    response = Client().get("/stream")
    chunks = [bytes(chunk).decode().strip() for chunk in response.streaming_content]
    assert len(set(chunks)) == 1
    assert set(chunks) < REPLICAS
    assert current_scope() is outer


# -- 18, 19: what is named, and no scope at all -----------------------------------------


@pytest.mark.parametrize("drained", [False, True])
def test_trap_18__an_alias_named_outright_is_used(shop: Site, drained: bool) -> None:
    """Though it is drained, or has not what the user wrote."""
    registry.drain({"replica2"} if drained else ())
    with standstill(shop), scope() as entered:
        written = registry.topology.clusters["default"].prober.written()  # type: ignore[union-attr]
        Author.objects.using("default").create(name="unseen")
        pending = replace(written, places={key: n + 1 for key, n in written.places.items()})
        entered.wrote.clear()
        entered.positions["default"] = (pending, time.time())
        with connections["replica2"].cursor() as cursor:
            assert where(lambda: cursor.execute("SELECT 1")) == ["replica2"]
        assert where(lambda: Book.objects.using("replica2").count()) == ["replica2"]
        assert where(Book.objects.count)[-1] == "default"


def test_trap_18__an_unknown_alias_in_a_cookie_counts_for_nothing(shop: Site) -> None:
    client = Client()
    later = time.time() + 60
    for carried, aliases in (
        ({"gone": later, "replica1": later}, REPLICAS),
        ({"gone": later, "default": later}, {"default"}),
    ):
        client.cookies[COOKIE] = signing.dumps(carried, salt=SALT)
        with witness() as ran:
            assert client.get("/cookie").content == b"True"
        assert len(ran) == 1
        assert set(ran.aliases) <= aliases


def test_trap_19__a_command_or_shell_reads_what_it_wrote(shop: Site) -> None:
    """Its thread is its scope: replicas until it writes, then the primary."""
    assert where(Book.objects.count)[0] in REPLICAS
    with standstill(shop):
        book = Book.objects.create(title="made", author=shop.author)
        assert Book.objects.get(pk=book.pk) == book
        assert async_to_sync(sync_to_async(Book.objects.get))(pk=book.pk) == book
