"""Where queries really run: two clusters on replicated PostgreSQL and MariaDB."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.backends.db import SessionStore
from django.core.management import call_command
from django.db import IntegrityError, connections, transaction
from django.db.models import Count, Max

from django_poolrouter import clusters, pools, scope, using_primary, using_replica
from django_poolrouter.routing import Scope, current_scope
from tests.support.databases import configured
from tests.support.testapp.billing.models import Invoice, Label, Receipt, Tariff
from tests.support.testapp.orders.models import Line, Order
from tests.support.testapp.shop.models import Author, Book, Note, Tag
from tests.support.testapp.site import Site, where, witness
from tests.support.waiting import eventually

REPLICAS = {"replica1", "replica2"}
ROUNDS = 50


class Clock:
    """A clock that goes when it is told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module", params=["postgresql", "mariadb"])
def site(request: pytest.FixtureRequest, django_db_blocker: Any) -> Site:
    """The apps on two clusters, migrated and with rows that no test changes."""
    site = Site(request.param, request.getfixturevalue(request.param))
    with django_db_blocker.unblock(), configured(site.databases()), scope():
        site.migrate()
        site.seed()
        connections.close_all()
    return site


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def use(site: Site, use_databases: Any, clock: Clock) -> Iterator[Callable[..., None]]:
    """Start with the site's databases and a scope as of a thread that did nothing yet."""
    with scope(Scope(sticky=False, clock=clock)):
        yield lambda **options: use_databases(site.databases(**options))


@pytest.fixture
def shop(site: Site, use: Callable[..., None]) -> Site:
    """The site, with pooled engines."""
    use()
    return site


@pytest.fixture(params=["pooled", "stock"])
def any_shop(request: pytest.FixtureRequest, site: Site, use: Callable[..., None]) -> Site:
    """The site, with pooled engines and with Django's own."""
    use(stock=request.param == "stock")
    return site


# -- shares of reads --------------------------------------------------------------------

READS: dict[str, Callable[[Site], object]] = {
    "get": lambda s: Book.objects.get(pk=s.book.pk),
    "filter": lambda s: list(Book.objects.filter(title__startswith="Seed")),
    "count": lambda s: Book.objects.count(),
    "exists": lambda s: Book.objects.exists(),
    "first": lambda s: Book.objects.first(),
    "values_list": lambda s: list(Book.objects.values_list("title", flat=True)),
    "aggregate": lambda s: Book.objects.aggregate(Max("pk"), Count("tags")),
    "iterator": lambda s: list(Book.objects.iterator()),
    "iterator_in_chunks": lambda s: list(Book.objects.iterator(chunk_size=1)),
    "in_bulk": lambda s: Book.objects.in_bulk([s.book.pk]),
    "reverse_manager": lambda s: list(s.author.books.all()),
    "reverse_manager_count": lambda s: s.author.books.count(),
    "reverse_manager_iterator": lambda s: list(s.author.books.iterator()),
    "many_to_many": lambda s: list(s.book.tags.all()),
    "many_to_many_in_bulk": lambda s: s.book.tags.in_bulk(),
    "prefetch_related": lambda s: list(Author.objects.prefetch_related("books")),
    "prefetch_of_prefetch": lambda s: list(Author.objects.prefetch_related("books__tags")),
    "select_related": lambda s: list(Book.objects.select_related("author")),
    "subquery": lambda s: list(Book.objects.filter(author__in=Author.objects.all())),
    "union": lambda s: list(Book.objects.all().union(Book.objects.all())),
    "raw": lambda s: list(Book.objects.raw("SELECT * FROM shop_book")),
    "foreign_key": lambda s: Book(author_id=s.author.pk).author,
    "refresh_from_db": lambda s: Author(pk=s.author.pk).refresh_from_db(),
    "explain": lambda s: Book.objects.all().explain(),
}


def assert_equal_shares(counts: Counter[str]) -> None:
    assert set(counts) == REPLICAS
    assert abs(counts["replica1"] - counts["replica2"]) < 0.02 * counts.total()


@pytest.mark.parametrize("name", READS)
def test_shares__of_reads_are_equal(shop: Site, name: str) -> None:
    with witness() as ran:
        for _ in range(ROUNDS):
            READS[name](shop)
    assert len(ran) >= ROUNDS
    # Three levels of prefetching on two replicas: here one, there two.
    assert_equal_shares(ran.counts)


def test_shares__of_mixed_reads_are_equal(any_shop: Site) -> None:
    with witness() as ran:
        for _ in range(5):
            for read in READS.values():
                read(any_shop)
    assert_equal_shares(ran.counts)


def test_shares__are_equal_on_the_servers(any_shop: Site) -> None:
    books = Book.objects.annotate(port=any_shop.asked_port()).values_list("port", flat=True)
    ports = Counter(port for _ in range(ROUNDS) for port in books.filter(pk=any_shop.book.pk))
    expected = Counter(any_shop.port(alias) for alias in ("replica1", "replica2"))
    assert {port: count * ROUNDS // 2 for port, count in expected.items()} == ports


def test_shares__of_several_threads_are_equal(any_shop: Site) -> None:
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        try:
            for _ in range(ROUNDS):
                READS["iterator"](any_shop)
                READS["get"](any_shop)
        finally:
            connections.close_all()

    with witness() as ran, ThreadPoolExecutor(4) as executor:
        for future in [executor.submit(work) for _ in range(4)]:
            future.result()
    assert len(ran) == 4 * 2 * ROUNDS
    assert_equal_shares(ran.counts)


def test_weighted__gives_each_replica_its_share(site: Site, use: Any) -> None:
    use(default={"BALANCER": "weighted"}, replica2={"WEIGHT": 3})
    with witness() as ran:
        for _ in range(40):
            READS["in_bulk"](site)
    assert ran.counts == {"replica1": 10, "replica2": 30}


def test_least_used__avoids_the_busy_replica(site: Site, use: Any) -> None:
    use(default={"BALANCER": "least_used"})
    for busy, idle in (("replica1", "replica2"), ("replica2", "replica1")):
        with ExitStack() as stack:
            for _ in range(4):  # more than the reads and the monitor use of the other
                stack.enter_context(pools[busy].connection())
            connections.close_all()
            assert where(lambda: [READS["count"](site) for _ in range(4)]) == [idle] * 4


# -- writes and tables ------------------------------------------------------------------


def make(site: Site) -> Book:
    return Book.objects.create(title="made", author=site.author)


def change_tags(site: Site) -> None:
    book = make(site)
    for name in ("one", "two"):
        book.tags.add(Tag.objects.get_or_create(name=name)[0])
    book.tags.set(Tag.objects.using("default").filter(name="two"))
    book.tags.remove(*Tag.objects.using("default").filter(name="two"))
    book.tags.clear()


def change_in_bulk(site: Site) -> None:
    books = Book.objects.bulk_create([Book(title="made", author=site.author) for _ in range(3)])
    if site.kind == "postgresql":  # MariaDB's stock backend gives no keys back
        for book in books:
            book.title = "made in bulk"
        Book.objects.bulk_update(books, ["title"])


def lock(site: Site) -> None:
    with transaction.atomic():
        book = Book.objects.select_for_update().filter(title="made").first()
        assert book is not None
        book.save()


WRITES: dict[str, Callable[[Site], object]] = {
    "create": make,
    "save": lambda s: make(s).save(),
    "update": lambda s: Book.objects.filter(title="made").update(title="made"),
    "delete": lambda s: make(s).delete(),
    "delete_many": lambda s: Book.objects.filter(title="made").delete(),
    "bulk": change_in_bulk,
    "many_to_many": change_tags,
    "reverse_manager": lambda s: s.author.books.create(title="made"),
    "reverse_manager_update": lambda s: s.author.books.filter(title="made").update(title="made"),
    "update_or_create": lambda s: Tag.objects.update_or_create(name="three"),
    "select_for_update": lambda s: (make(s), lock(s)),
    "raw_sql": lambda s: connections["default"].cursor().execute("DELETE FROM shop_note WHERE 1=0"),
}


@pytest.mark.parametrize("name", WRITES)
def test_writes__run_on_the_primary_only(site: Site, use: Any, name: str) -> None:
    # Even where nothing pins, so that no read inside of a write goes elsewhere.
    use(default={"READ_YOUR_WRITES": "off"})
    aliases = where(lambda: WRITES[name](site))
    assert set(aliases) == {"default"}


def test_writes__arrive_on_the_replicas(shop: Site) -> None:
    book = make(shop)
    shop.wait()
    for alias in (*REPLICAS, "default"):
        assert Book.objects.using(alias).get(pk=book.pk).title == "made"


@pytest.mark.parametrize(
    ("aliases", "tables"),
    [
        (
            ("default", "replica1", "replica2"),
            "shop_author shop_tag shop_note shop_book shop_book_tags billing_tariff",
        ),
        (
            ("orders", "orders1"),
            "orders_order orders_line billing_invoice billing_label billing_invoice_labels",
        ),
    ],
    ids=["default", "orders"],
)
def test_migrate__makes_tables_where_they_belong(shop: Site, aliases: Any, tables: str) -> None:
    for alias in aliases:
        assert shop.tables(alias) == set(tables.split())


def test_migrate__again_does_nothing(shop: Site) -> None:
    before = {alias: shop.tables(alias) for alias in connections}
    shop.migrate()
    assert {alias: shop.tables(alias) for alias in connections} == before


def test_migrate__of_a_replica_makes_no_tables(shop: Site) -> None:
    before = shop.tables("replica1")
    with suppress(Exception):  # a replica is read-only, or everything is there already
        call_command("migrate", database="replica1", run_syncdb=True, verbosity=0)
    assert shop.tables("replica1") == shop.tables("default") == before


# -- transactions -----------------------------------------------------------------------


def count_all() -> None:
    Book.objects.count()
    Order.objects.count()


def test_reads_in_atomic__go_to_the_primary_of_that_cluster(any_shop: Site) -> None:
    with transaction.atomic():
        assert where(count_all) == ["default", "orders1"]
        with transaction.atomic():
            assert where(count_all) == ["default", "orders1"]
    with transaction.atomic(using="orders"):
        assert set(where(count_all)) & {"default"} == set()
        assert "orders" in where(count_all)
    aliases = where(count_all)
    assert aliases[0] in REPLICAS
    assert aliases[1] == "orders1"


def test_reads_in_atomic__see_own_writes(any_shop: Site) -> None:
    with suppress(ZeroDivisionError), transaction.atomic():
        book = make(any_shop)
        assert Book.objects.get(pk=book.pk) == book
        assert list(any_shop.author.books.filter(pk=book.pk).iterator()) == [book]
        assert Book.objects.in_bulk([book.pk]) == {book.pk: book}
        book.full_clean()
        raise ZeroDivisionError
    assert not Book.objects.filter(pk=book.pk).exists()


def test_reads_without_autocommit__are_in_a_transaction_too(any_shop: Site) -> None:
    transaction.set_autocommit(False)
    try:
        assert where(count_all) == ["default", "orders1"]
        book = make(any_shop)
        assert Book.objects.get(pk=book.pk) == book
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)


# -- pins -------------------------------------------------------------------------------


def read_alias(model: Any = Book) -> str:
    [alias] = where(model.objects.count)
    return alias


def test_write__pins_its_cluster_for_pin_seconds(any_shop: Site, clock: Clock) -> None:
    make(any_shop)
    assert {read_alias() for _ in range(4)} == {"default"}
    assert read_alias(Order) == "orders1"
    clock.now += 4.9
    assert read_alias() == "default"
    clock.now += 0.1
    assert {read_alias() for _ in range(4)} == REPLICAS


def test_write__in_another_cluster_pins_that_one(any_shop: Site, clock: Clock) -> None:
    Line.objects.create(order=any_shop.order, text="two")
    assert (read_alias(Order), read_alias(Line)) == ("orders", "orders")
    assert {read_alias() for _ in range(4)} == REPLICAS
    clock.now += 5
    assert read_alias(Order) == "orders1"


def test_write__of_raw_sql_pins(any_shop: Site) -> None:
    with connections["default"].cursor() as cursor:
        cursor.executemany("UPDATE shop_tag SET name = name WHERE id = %s", [[-1], [-2]])
    assert read_alias() == "default"


def test_write__pins_in_real_time(site: Site, use: Any) -> None:
    use(default={"PIN_SECONDS": 0.3})
    with scope(Scope(sticky=False)):
        began = time.monotonic()
        make(site)
        assert eventually(lambda: read_alias() in REPLICAS)
        assert time.monotonic() - began >= 0.3


def test_write__of_one_thread_does_not_pin_another(any_shop: Site) -> None:
    def work() -> str:
        try:
            return read_alias()
        finally:
            connections.close_all()

    make(any_shop)
    with ThreadPoolExecutor(1) as executor:
        assert executor.submit(work).result() in REPLICAS


def test_pin__starts_when_a_long_transaction_ends(any_shop: Site, clock: Clock) -> None:
    with transaction.atomic():
        make(any_shop)
        clock.now += 60
    assert read_alias() == "default"
    clock.now += 4.9
    assert read_alias() == "default"
    clock.now += 0.1
    assert read_alias() in REPLICAS


def test_pin__starts_when_a_manual_transaction_ends(any_shop: Site, clock: Clock) -> None:
    transaction.set_autocommit(False)
    make(any_shop)
    clock.now += 60
    transaction.commit()
    transaction.set_autocommit(True)
    assert read_alias() == "default"
    clock.now += 5
    assert read_alias() in REPLICAS


def test_transaction_that_only_reads__does_not_pin(any_shop: Site) -> None:
    with transaction.atomic():
        count_all()
        list(Book.objects.select_for_update())
        with transaction.atomic():
            count_all()
    assert read_alias() in REPLICAS


def test_write__that_was_rolled_back_pins_to_be_safe(any_shop: Site, clock: Clock) -> None:
    with suppress(ZeroDivisionError), transaction.atomic():
        make(any_shop)
        raise ZeroDivisionError
    assert read_alias() == "default"
    clock.now += 5
    assert read_alias() in REPLICAS


def test_write__that_failed_pins_to_be_safe(any_shop: Site, clock: Clock) -> None:
    with pytest.raises(IntegrityError):
        Tag.objects.create(name="red")
    assert read_alias() == "default"
    clock.now += 5
    assert read_alias() in REPLICAS


@pytest.mark.parametrize(
    "options",
    [{"READ_YOUR_WRITES": "off"}, {"READ_YOUR_WRITES": "pin", "PIN_SECONDS": 0}],
)
def test_write__pins_nothing_where_the_user_says_so(site: Site, use: Any, options: Any) -> None:
    use(default=options)
    make(site)
    assert {read_alias() for _ in range(4)} == REPLICAS
    assert current_scope().wrote == set()
    Order.objects.create(number=2)
    assert read_alias(Order) == "orders"


NO_WRITES: dict[str, Callable[[Site], object]] = {
    "get_or_create_hit": lambda s: Tag.objects.get_or_create(name="red"),
    "full_clean": lambda s: Book(title="x", author=s.author).full_clean(),
    "foreign_key_assignment": lambda s: Book(title="x", author=s.author),
    "generic_foreign_key": lambda s: [n.target for n in Note.objects.all()],
    "content_types": lambda s: ContentType.objects.get_for_model(Book),
    "session_load": lambda s: SessionStore("0" * 32).load(),
    "cursor_select": lambda s: connections["default"].cursor().execute("SELECT 1"),
}


@pytest.mark.parametrize("name", NO_WRITES)
def test_pin__needs_a_statement_that_writes(shop: Site, name: str) -> None:
    ContentType.objects.clear_cache()
    NO_WRITES[name](shop)
    assert current_scope().wrote == set()
    assert read_alias() in REPLICAS


def test_get_or_create__reads_on_the_primary_and_pins_when_it_creates(shop: Site) -> None:
    assert where(lambda: Tag.objects.get_or_create(name="red")) == ["default"]
    assert read_alias() in REPLICAS
    assert set(where(lambda: Tag.objects.get_or_create(name=f"new {shop.kind}"))) == {"default"}
    assert read_alias() == "default"


# -- what the user asks for -------------------------------------------------------------


def asked_port(site: Site, model: Any = Book) -> int:
    """Return the port of the server that really answers."""
    asked = model.objects.annotate(port=site.asked_port())
    return int(asked.values_list("port", flat=True)[0])


def test_using_primary__really_goes_there(any_shop: Site) -> None:
    with using_primary():
        assert {asked_port(any_shop) for _ in range(3)} == {any_shop.port("default")}
        assert asked_port(any_shop, Order) == any_shop.port("orders")
    with using_primary("orders"):
        assert asked_port(any_shop) != any_shop.port("default")
        assert asked_port(any_shop, Order) == any_shop.port("orders")


def test_using_replica__really_goes_there_after_a_write(any_shop: Site) -> None:
    make(any_shop)
    assert asked_port(any_shop) == any_shop.port("default")
    with using_replica():
        ports = {asked_port(any_shop) for _ in range(4)}
    assert ports == {any_shop.port(alias) for alias in REPLICAS}
    with transaction.atomic(), using_replica("default"):
        assert asked_port(any_shop) != any_shop.port("default")


def test_using__decorates_what_threads_and_coroutines_run(any_shop: Site) -> None:
    @using_primary
    def read() -> int:
        try:
            return asked_port(any_shop)
        finally:
            connections.close_all()

    @using_primary("default")
    async def aread() -> list[Any]:
        counted = await Book.objects.acount()
        ports = [book.port async for book in Book.objects.annotate(port=any_shop.asked_port())]
        return [counted == len(ports), *set(ports)]

    with ThreadPoolExecutor(2) as executor:
        ports = {future.result() for future in [executor.submit(read) for _ in range(2)]}
    assert ports == {any_shop.port("default")}
    assert async_to_sync(aread)() == [True, any_shop.port("default")]


def test_using__an_alias_outright_is_django_as_ever(any_shop: Site) -> None:
    for alias in connections:
        model = Order if alias.startswith("orders") else Book
        asked = model.objects.using(alias).annotate(port=any_shop.asked_port())
        assert asked.values_list("port", flat=True)[0] == any_shop.port(alias)


def test_read_and_write_session__of_a_cluster(shop: Site) -> None:
    with clusters["default"].write_session() as session:
        assert session.alias == "default"
    aliases = []
    for _ in range(4):
        with clusters["default"].read_session() as session:
            aliases.append(session.alias)
    assert aliases == ["replica1", "replica2"] * 2


# -- two clusters -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "primary", "replicas"),
    [
        (Book, "default", REPLICAS),
        (Tariff, "default", REPLICAS),
        (Order, "orders", {"orders1"}),
        (Line, "orders", {"orders1"}),
        (Invoice, "orders", {"orders1"}),
        (Receipt, "orders", {"orders1"}),
        (Label, "orders", {"orders1"}),
        (Invoice.labels.through, "orders", {"orders1"}),
    ],
)
def test_cluster__is_that_of_the_app_or_model(
    shop: Site, model: Any, primary: str, replicas: set[str]
) -> None:
    assert set(where(lambda: [list(model.objects.all()) for _ in range(2)])) == replicas
    assert where(lambda: model.objects.filter(pk=-1).update(id=-1)) == [primary]


def test_relations__within_the_second_cluster(shop: Site) -> None:
    line = Line.objects.select_related("order").get(pk=shop.line.pk)
    assert line.order == shop.order
    new = Line(order=line.order, text="three")
    assert set(where(new.save)) == {"orders"}
    with scope():
        [order] = Order.objects.prefetch_related("lines").filter(pk=shop.order.pk)
        assert shop.line in order.lines.all()
        assert set(where(lambda: list(order.lines.filter(text="one")))) == {"orders1"}


def test_many_to_many__of_single_models_of_the_second_cluster(shop: Site) -> None:
    invoice = Invoice.objects.get(pk=shop.invoice.pk)
    assert invoice._state.db == "orders1"
    new = Label.objects.create(name="new")

    def change() -> None:
        invoice.labels.add(new)
        assert new in invoice.labels.all()
        invoice.labels.set([shop.label])
        assert list(invoice.labels.all()) == [shop.label]

    assert set(where(change)) == {"orders"}
    with scope():
        found = Invoice.objects.prefetch_related("labels").get(pk=invoice.pk)
        assert shop.label in found.labels.all()
        assert list(shop.label.invoices.all()) == [invoice]


def test_relation__from_a_replicas_object_is_written_to_the_primary(shop: Site) -> None:
    author = Author.objects.get(pk=shop.author.pk)
    tag = Tag.objects.get(name="red")
    assert {author._state.db, tag._state.db} == REPLICAS
    book = Book.objects.create(title="made", author=author)
    book.tags.add(tag)
    assert book._state.db == "default"
    assert list(book.tags.all()) == [tag]


def test_relation__across_clusters_is_refused(shop: Site) -> None:
    line = Line.objects.get(pk=shop.line.pk)
    foreign = Order(pk=1)
    foreign._state.db = "default"
    with pytest.raises(ValueError, match="the current database router prevents this relation"):
        line.order = foreign


# -- scopes -----------------------------------------------------------------------------


def test_scope__keeps_one_replica_and_scopes_take_turns(any_shop: Site) -> None:
    seen = []
    for _ in range(4):
        with scope():
            [alias] = set(where(lambda: [read(any_shop) for read in READS.values()]))
            seen.append(alias)
    assert set(seen) == REPLICAS
    assert seen == seen[:2] * 2


def test_scope__forgets_its_pin_at_the_end(any_shop: Site) -> None:
    with scope() as inner:
        make(any_shop)
        assert read_alias() == "default"
        assert inner.wrote == {"default"}
    assert read_alias() in REPLICAS


def test_scope__can_be_nested(any_shop: Site) -> None:
    with scope():
        make(any_shop)
        with scope():
            assert read_alias() in REPLICAS
        assert read_alias() == "default"


# -- asynchronous code ------------------------------------------------------------------

AREADS: dict[str, Callable[[Site], Any]] = {
    "aget": lambda s: Book.objects.aget(pk=s.book.pk),
    "acount": lambda s: Book.objects.acount(),
    "ain_bulk": lambda s: Book.objects.ain_bulk([s.book.pk]),
    "aexists": lambda s: s.author.books.aexists(),
    "async_for": lambda s: collect(Book.objects.all()),
    "aiterator": lambda s: collect(Book.objects.aiterator()),
    "reverse_manager_aiterator": lambda s: collect(s.author.books.aiterator()),
}


async def collect(found: Any) -> list[Any]:
    return [each async for each in found]


@pytest.mark.parametrize("name", AREADS)
def test_shares__of_asynchronous_reads_are_equal(shop: Site, name: str) -> None:
    async def main() -> None:
        for _ in range(20):
            assert await AREADS[name](shop)

    with witness() as ran:
        async_to_sync(main)()
    assert len(ran) == 20
    assert_equal_shares(ran.counts)


@pytest.mark.parametrize("name", ["acount", "async_for", "aiterator"])
def test_shares__of_reads_at_once_are_equal(shop: Site, name: str) -> None:
    async def main() -> None:
        for _ in range(10):
            await asyncio.gather(*(AREADS[name](shop) for _ in range(4)))

    with witness() as ran:
        async_to_sync(main)()
    assert len(ran) == 40
    assert_equal_shares(ran.counts)


def test_asynchronous_write__pins_the_tasks_that_share_its_scope(shop: Site) -> None:
    async def write() -> None:
        await Book.objects.acreate(title="made", author=shop.author)

    async def main() -> list[str]:
        with scope() as outer:
            await asyncio.gather(write(), AREADS["acount"](shop))
            assert outer.wrote == {"default"}
            return [await sync_to_async(read_alias)() for _ in range(3)]

    assert async_to_sync(main)() == ["default"] * 3
    assert read_alias() in REPLICAS


def test_asynchronous_write__pins_without_any_scope(site: Site, use_databases: Any) -> None:
    use_databases(site.databases())

    async def main() -> None:
        await AREADS["acount"](site)
        await Book.objects.acreate(title="made", author=site.author)
        for read in AREADS.values():
            await read(site)
        await sync_to_async(connections.close_all)()

    # As in a program that starts: nobody asked for a scope before.
    with witness() as ran:
        contextvars.Context().run(asyncio.run, main())
    assert ran.aliases[0] in REPLICAS
    assert len(ran) >= 2 + len(AREADS)
    assert set(ran.aliases[1:]) == {"default"}


def test_asynchronous_tasks__with_scopes_of_their_own_do_not_meet(shop: Site) -> None:
    async def request(writes: bool) -> set[str]:
        with scope():
            if writes:
                await Book.objects.acreate(title="made", author=shop.author)
            return {await sync_to_async(read_alias)() for _ in range(3)}

    async def main() -> list[set[str]]:
        return list(await asyncio.gather(*(request(writes) for writes in (True, False, True))))

    one, two, three = async_to_sync(main)()
    assert one == three == {"default"}
    assert len(two) == 1
    assert two < REPLICAS
