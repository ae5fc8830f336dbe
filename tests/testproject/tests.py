"""What a user's tests rely on, with nothing said about replicas."""

from __future__ import annotations

import re
import threading

from django.contrib.contenttypes.models import ContentType
from django.db import connections
from django.test import TestCase, TransactionTestCase

from django_poolrouter import pools, using_primary, using_replica
from tests.testapp.billing.models import Invoice, Label, Tariff
from tests.testapp.orders.models import Line, Order
from tests.testapp.shop.models import Author, Book, Note, Tag

PRIMARIES = {"default", "orders"}
REPLICAS = {"replica1", "replica2"}
THREADS = 2


def tables(alias: str) -> set[str]:
    with connections[alias].cursor() as cursor:
        return set(connections[alias].introspection.table_names(cursor))


def fill_pools() -> None:
    """Leave idle connections behind, as threads of a server do."""
    start = threading.Barrier(THREADS)

    def work() -> None:
        for alias in connections:
            with connections[alias].cursor() as cursor:
                cursor.execute("SELECT 1")
        start.wait(10)
        connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class MirrorTests(TransactionTestCase):
    databases = "__all__"

    def test_replicas_are_mirrors(self) -> None:
        for alias, primary in (("replica1", "default"), ("orders1", "orders")):
            mirror, mirrored = (connections[name].settings_dict for name in (alias, primary))
            for key in ("NAME", "HOST", "PORT", "USER"):
                assert mirror[key] == mirrored[key]
            assert re.search("test_|memory", str(mirror["NAME"]))

    def test_tables_are_where_they_belong(self) -> None:
        assert {"shop_book", "billing_tariff"} <= tables("default")
        assert {"orders_order", "billing_invoice"} <= tables("orders")
        assert not {"orders_order", "billing_invoice"} & tables("default")
        assert not {"shop_book", "billing_tariff"} & tables("orders")
        assert tables("replica1") == tables("default")


class CommittedTests(TransactionTestCase):
    databases = "__all__"

    def test_replicas_show_at_once_what_was_written(self) -> None:
        author = Author.objects.create(name="Ada")
        Book.objects.create(title="Notes", author=author)
        assert Book.objects.get()._state.db == "default"
        with using_replica():
            for _ in range(4):
                book = Book.objects.get()
                assert book._state.db in REPLICAS
                assert list(author.books.iterator()) == [book]

    def test_both_clusters(self) -> None:
        order = Order.objects.create(number=1)
        Line.objects.create(order=order, text="x")
        assert Line.objects.get()._state.db == "orders"
        with using_replica("orders"):
            assert Line.objects.get()._state.db == "orders1"
            assert Order.objects.prefetch_related("lines").get() == order

    def test_tables_are_emptied_between_tests(self) -> None:
        for model in (Author, Book, Order, Line):
            assert model.objects.count() == 0
            with using_primary():
                assert model.objects.count() == 0

    def test_pools_hold_idle_connections(self) -> None:
        fill_pools()
        status = pools["default"].status()
        assert status.waiting == 0
        assert status.checkedout <= 1


def in_memory() -> bool:
    connection = connections["default"]
    return connection.vendor == "sqlite" and connection.settings_dict["TEST"]["NAME"] is None


class AtomicTests(TestCase):
    # SQLite in memory locks tables for each connection: a transaction on a mirror, which
    # Django would open too, is in the way of that on the primary, with any engine.
    databases = PRIMARIES if in_memory() else "__all__"

    @classmethod
    def setUpTestData(cls) -> None:
        cls.author = Author.objects.create(name="Ada")
        cls.order = Order.objects.create(number=1)

    def test_reads_see_the_tests_transaction(self) -> None:
        book = Book.objects.create(title="Notes", author=self.author)
        book.tags.add(Tag.objects.create(name="red"))
        Note.objects.create(text="good", target=book)
        assert Book.objects.get()._state.db == "default"
        assert list(self.author.books.iterator()) == [book]
        assert Book.objects.prefetch_related("tags", "notes").get().tags.count() == 1

    def test_reads_of_the_other_cluster_do_too(self) -> None:
        invoice = Invoice.objects.create(number=1)
        invoice.labels.add(Label.objects.create(name="paid"))
        assert Order.objects.get() == self.order
        assert Invoice.objects.get(labels__name="paid")._state.db == "orders"

    def test_migrations_ran_where_they_belong(self) -> None:
        assert Tariff.objects.get().name == "basic"
        assert ContentType.objects.filter(app_label="billing").exists()


class PrimaryOnlyTests(TestCase):
    """Replicas need not be named: inside the test's transaction nothing goes to them."""

    databases = PRIMARIES

    def test_reads_and_writes(self) -> None:
        Author.objects.create(name="Ada")
        Order.objects.create(number=1)
        assert Author.objects.get()._state.db == "default"
        assert Order.objects.get()._state.db == "orders"


class MorePrimaryOnlyTests(PrimaryOnlyTests):
    """The same again, for another process."""
