"""What a user's tests rely on, with nothing said about replicas."""

from __future__ import annotations

import re
import threading
from contextlib import suppress

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import connections, transaction
from django.db.transaction import TransactionManagementError
from django.db.utils import Error
from django.test import TestCase, TransactionTestCase
from django.test.testcases import DatabaseOperationForbidden

from django_poolrouter import pools, using_primary, using_replica
from django_poolrouter.test import assert_routed_to
from tests.support.testapp.billing.models import Invoice, Label, Tariff
from tests.support.testapp.orders.models import Line, Order
from tests.support.testapp.shop.models import Author, Book, Note, Tag

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


class AtomicTests(TestCase):
    databases = "__all__"

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

    def test_replicas_see_the_tests_transaction_too(self) -> None:
        with transaction.atomic():
            Book.objects.create(title="Notes", author=self.author)
        for alias in REPLICAS:
            assert Book.objects.using(alias).get().author == self.author
            with transaction.atomic(using=alias), transaction.atomic(using=alias):
                assert [book.title for book in Book.objects.using(alias).iterator()] == ["Notes"]
        with using_replica():
            assert Book.objects.get()._state.db in REPLICAS
            assert Order.objects.get()._state.db == "orders1"
        with suppress(ZeroDivisionError), transaction.atomic():
            Book.objects.all().delete()
            assert Book.objects.using("replica1").count() == 0
            raise ZeroDivisionError
        assert Book.objects.using("replica1").count() == 1

    def test_assert_routed_to__routes_as_in_production(self) -> None:
        with assert_routed_to(*REPLICAS) as ran:
            assert self.author.books.count() == 0
            assert {author.name for author in Author.objects.all()} == {"Ada"}
        assert len({query.alias for query in ran}) == 1
        with assert_routed_to("default"):
            book = Book.objects.create(title="Notes", author=self.author)
            assert Book.objects.get() == book
        with assert_routed_to(*REPLICAS):
            assert Book.objects.get() == book
        with assert_routed_to("default"), transaction.atomic():
            assert Book.objects.get() == book
        with assert_routed_to("orders1"):
            assert Order.objects.get() == self.order
        assert Book.objects.get()._state.db == "default"

    def test_assert_routed_to__of_a_request(self) -> None:
        with assert_routed_to(*REPLICAS):
            assert self.client.get("/count").content == b"0 books"
        with assert_routed_to("default"):
            assert self.client.post("/count", {"author": self.author.pk}).content == b"1 books"
        with assert_routed_to("default"):  # the cookie
            assert self.client.get("/count").content == b"1 books"

    def test_assert_routed_to__says_where_each_query_went_and_why(self) -> None:
        def work() -> None:
            Order.objects.get()
            Tag.objects.create(name="red")
            Book.objects.count()
            Tag.objects.using("replica2").count()

        with pytest.raises(AssertionError) as caught, assert_routed_to("orders1", "replica1"):
            work()
        told, *lines = str(caught.value).splitlines()
        assert told == "3 of 4 queries did not go to 'orders1' or 'replica1':"
        starts = [
            "  orders1: 'SELECT",
            "! default: 'INSERT",
            "! default: 'SELECT",
            "! replica2: 'S",
        ]
        assert [line[: len(start)] for line, start in zip(lines, starts, strict=True)] == starts
        reasons = [line.rpartition(" (")[2] for line in lines]
        assert reasons.pop(2) in ("pinned after a write)", "wrote in this scope)")
        assert reasons == [
            "balanced over the replicas)",
            "writes go to the primary)",
            "named outright)",
        ]

    def test_assert_routed_to__wants_a_query_and_known_aliases(self) -> None:
        none = pytest.raises(AssertionError, match="should go to 'default', but none ran")
        with none, assert_routed_to("default"):
            pass
        unknown = pytest.raises(ValueError, match="Did you mean 'replica1'")
        with unknown, assert_routed_to("replicas1"):
            pass
        with pytest.raises(ZeroDivisionError), assert_routed_to("default"):
            raise ZeroDivisionError

    def test_reads_of_the_other_cluster_do_too(self) -> None:
        invoice = Invoice.objects.create(number=1)
        invoice.labels.add(Label.objects.create(name="paid"))
        assert Order.objects.get() == self.order
        assert Invoice.objects.get(labels__name="paid")._state.db == "orders"

    def test_migrations_ran_where_they_belong(self) -> None:
        assert Tariff.objects.get().name == "basic"
        assert ContentType.objects.filter(app_label="billing").exists()


WRITES = {
    "create": lambda: Author.objects.using("replica1").create(name="astray"),
    "update": lambda: Author.objects.using("replica1").update(name="astray"),
    "delete": lambda: Author.objects.using("replica1")._raw_delete("replica1"),
    "raw": lambda: connections["replica1"].cursor().execute("DELETE FROM shop_author"),
}


class RefusedWrites:
    """A replica refuses writes in production, so its mirror does."""

    def test_replica_refuses_writes(self) -> None:
        for name, write in WRITES.items():
            with self.subTest(name), pytest.raises(Error) as caught:  # type: ignore[attr-defined]
                write()
            assert "'replica1' is a replica of 'default'" in caught.value.__notes__[0]
        assert not Author.objects.using("default").filter(name="astray").exists()

    def test_write_beside_a_block_on_a_replica_is_refused(self) -> None:
        with pytest.raises(TransactionManagementError), transaction.atomic(using="replica1"):
            Author.objects.create(name="astray")


class RefusedAtomicWritesTests(RefusedWrites, TestCase):
    databases = "__all__"


class RefusedCommittedWritesTests(RefusedWrites, TransactionTestCase):
    databases = "__all__"


class NotListedTests(TransactionTestCase):
    """The databases of most tests do not list a replica."""

    def test_reads_go_to_the_primary(self) -> None:
        Author.objects.create(name="Ada")
        assert Author.objects.get().name == "Ada"
        with pytest.raises(DatabaseOperationForbidden), using_replica():
            Author.objects.count()

    def test_reads_of_threads_do_too(self) -> None:
        found: list[int] = []

        def count() -> None:
            found.append(Author.objects.count())
            connections.close_all()

        thread = threading.Thread(target=count)
        thread.start()
        thread.join()
        assert found == [0]


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
