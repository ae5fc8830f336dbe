"""Objects that were read from a replica belong to its cluster, wherever Django compares.

The replicas are those of `test_other_code`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model
from django.db.utils import Error

from django_poolrouter import scope, using_replica
from tests.support.testapp.orders.models import Line, Order
from tests.support.testapp.shop.models import Author, Book, Note, Tag
from tests.support.testapp.site import where

from .test_other_code import postgresql_site, replicated  # noqa: F401

REPLICAS = ("replica1", "replica2")

pytestmark = [pytest.mark.every_pair, pytest.mark.usefixtures("rows")]


class Rows:
    """An author with one book and one note, and another author."""

    def __init__(self) -> None:
        self.mine = Author.objects.create(name="Mine")
        self.other = Author.objects.create(name="Other")
        self.book = Book.objects.create(title="book", author=self.other)
        self.note = Note.objects.create(
            text="note", content_type=ContentType.objects.get_for_model(Author), object_id=1
        )

    def end(self) -> None:
        Note.objects.using("default").filter(text="note").delete()
        Author.objects.using("default").filter(pk__in=[self.mine.pk, self.other.pk]).delete()


@pytest.fixture
def rows(replicated: Any) -> Any:  # noqa: F811
    with scope():
        made = Rows()
    if replicated.site is not None:
        replicated.site.wait()
    with scope():
        yield made
    with scope():
        made.end()


def from_replica(instance: Any) -> Any:
    """Return a row as the router reads it."""
    found = instance.__class__.objects.get(pk=instance.pk)
    assert found._state.db in REPLICAS
    return found


def author_of(book: Book) -> int:
    return Book.objects.using("default").get(pk=book.pk).author_id  # type: ignore[attr-defined,no-any-return]


def target_of(note: Note) -> tuple[int, int]:
    found = Note.objects.using("default").get(pk=note.pk)
    return found.content_type_id, found.object_id  # type: ignore[attr-defined]


# -- managers of relations -------------------------------------------------------------------


@pytest.mark.parametrize("bulk", [True, False], ids=["bulk", "one by one"])
@pytest.mark.parametrize("method", ["add", "set"])
def test_object_of_a_replica__is_added_to_its_parent(rows: Rows, method: str, bulk: bool) -> None:
    author, book = from_replica(rows.mine), from_replica(rows.book)
    call = getattr(author.books, method)
    assert set(where(lambda: call(*([book] if method == "add" else [[book]]), bulk=bulk))) == {
        "default"
    }
    assert author_of(book) == rows.mine.pk
    assert book._state.db == "default"


@pytest.mark.parametrize("method", ["add", "set"])
def test_object_of_a_replica__is_added_through_a_generic_relation(rows: Rows, method: str) -> None:
    # What a generic relation leads to is read from the primary, but not by its own manager.
    book, note = from_replica(rows.book), from_replica(rows.note)
    getattr(book.notes, method)(*([note] if method == "add" else [[note]]))
    assert target_of(note) == (ContentType.objects.get_for_model(Book).pk, book.pk)


def test_object_read_under_using_replica__is_added(rows: Rows) -> None:
    with using_replica():
        author, book = from_replica(rows.mine), from_replica(rows.book)
        author.books.add(book)
    assert author_of(book) == rows.mine.pk


async def _aadd(author: Author, book: Book) -> None:
    await author.books.aadd(book)


def test_object_of_a_replica__is_added_asynchronously(rows: Rows) -> None:
    from asgiref.sync import async_to_sync

    author, book = from_replica(rows.mine), from_replica(rows.book)
    async_to_sync(_aadd)(author, book)
    assert author_of(book) == rows.mine.pk


def test_unsaved_object__is_refused_as_ever(rows: Rows) -> None:
    author = from_replica(rows.mine)
    with pytest.raises(ValueError, match="isn't saved"):
        author.books.add(Book(title="new"))
    with pytest.raises(TypeError, match="instance expected"):
        author.books.add(rows.other)
    with pytest.raises(TypeError, match="instance expected"):
        author.books.add("book")


def test_object_of_another_cluster__is_refused_as_ever(rows: Rows) -> None:
    with scope():
        order = Order.objects.create(number=1)
        line = Line.objects.create(order=order, text="one")
    line._state.db = "replica1"
    with pytest.raises(ValueError, match="router prevents"):
        order.lines.add(line)  # type: ignore[attr-defined]
    with scope():
        Order.objects.filter(pk=order.pk).delete()


def test_objects_that_are_added_later__are_still_read_from_the_replica(rows: Rows) -> None:
    """Only what is written changes its alias."""
    author = from_replica(rows.other)
    book = author.books.get()
    assert book._state.db in REPLICAS
    assert book.author._state.db in REPLICAS


# -- writes that name the alias of an object ----------------------------------------------------


def saves(book: Any) -> None:
    book.title = "new"
    book.save(using=book._state.db)


def saves_part(book: Any) -> None:
    book = Book.objects.defer("author").get(pk=book.pk)
    book.title = "new"
    book.save(using=book._state.db)


WRITES: dict[str, Callable[[Any], object]] = {
    "save": saves,
    "save_deferred": saves_part,
    "update": lambda b: Book.objects.using(b._state.db).filter(pk=b.pk).update(title="new"),
    "update_or_create": lambda b: Book.objects.using(b._state.db).update_or_create(
        pk=b.pk, defaults={"title": "new"}
    ),
    "manager": lambda b: Book.objects.db_manager(b._state.db).create(title="new", author=b.author),
    "bulk_update": lambda b: (
        setattr(b, "title", "new"),
        Book.objects.using(b._state.db).bulk_update([b], ["title"]),
    ),
    "bulk_create": lambda b: Book.objects.using(b._state.db).bulk_create(
        [Book(title="new", author=b.author)]
    ),
}


@pytest.mark.parametrize("name", WRITES)
def test_write_under_the_alias_of_an_object__goes_to_the_primary(rows: Rows, name: str) -> None:
    WRITES[name](from_replica(rows.book))
    assert Book.objects.using("default").filter(title="new").count() == 1


DELETES: dict[str, Callable[[Any], object]] = {
    "object": lambda a: a.delete(using=a._state.db),
    "position": lambda a: a.delete(a._state.db),
    "queryset": lambda a: Author.objects.using(a._state.db).filter(pk=a.pk).delete(),
}


@pytest.mark.parametrize("name", DELETES)
def test_delete_under_the_alias_of_an_object__is_the_primarys(rows: Rows, name: str) -> None:
    author = from_replica(rows.other)
    # Its books are looked up on the primary, too.
    assert set(where(lambda: DELETES[name](author))) == {"default"}
    assert not Book.objects.using("default").filter(pk=rows.book.pk).exists()


def test_read_under_the_alias_of_an_object__stays_on_its_replica(rows: Rows) -> None:
    book, note = from_replica(rows.book), from_replica(rows.note)
    alias = book._state.db
    assert where(lambda: list(Book.objects.using(alias))) == [alias]
    note.content_type  # noqa: B018  # is in Django's cache from here on
    assert where(lambda: note.target)[-1] == note._state.db


@pytest.mark.parametrize(
    "write",
    [
        lambda: Tag(name="astray").save(using="replica1"),
        lambda: Tag.objects.using("replica1").create(name="astray"),
    ],
    ids=["save", "create"],
)
def test_write_that_names_a_replica__is_refused_as_ever(write: Callable[[], Model]) -> None:
    with pytest.raises(Error) as caught:
        write()
    (note,) = caught.value.__notes__
    assert "is a replica of 'default'" in note
    assert "do the whole change under using_primary()" in note
