"""Reads and writes of the ORM, on rows that only one thread uses."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from django.db import connections
from django.db.models import F, QuerySet

from tests.support.testapp.shop.models import Tag


class Tags:
    """The tags of one thread on one alias.  Each of the public methods is a step of a request."""

    def __init__(self, alias: str, thread: int) -> None:
        self._alias = alias
        self._prefix = f"tag-{thread}-"

    def _all(self) -> QuerySet[Tag]:
        return Tag.objects.using(self._alias).filter(name__startswith=self._prefix)

    def _one(self, number: int) -> QuerySet[Tag]:
        return Tag.objects.using(self._alias).filter(name=self._name(number))

    def _name(self, number: int) -> str:
        return f"{self._prefix}{number}"

    def names(self, number: int) -> list[str]:
        return sorted(self._all().values_list("name", flat=True))

    def count(self, number: int) -> int:
        return self._all().count()

    def first(self, number: int) -> str:
        return str(self._one(number).first())

    def exists(self, number: int) -> bool:
        return self._one(number).exists()

    def iterate(self, number: int) -> list[str]:
        return [tag.name for tag in self._all().order_by("name").iterator(chunk_size=2)]

    def half(self, number: int) -> str:
        """Read the first row of several, and leave the others."""
        with closing(self._all().order_by("name").iterator(chunk_size=2)) as tags:
            return str(next(tags, None))

    def chunked(self, number: int) -> list[Any]:
        with connections[self._alias].chunked_cursor() as cursor:
            cursor.execute("SELECT 1 UNION ALL SELECT 2")
            return [tuple(row) for row in cursor.fetchmany(1)]

    def create(self, number: int) -> str:
        return Tag.objects.using(self._alias).create(name=self._name(number)).name

    def rename(self, number: int) -> int:
        return self._one(number).update(name=f"{self._name(number)}x")

    def delete(self, number: int) -> Any:
        return self._one(number)._raw_delete(self._alias)

    def get_or_create(self, number: int) -> bool:
        return Tag.objects.using(self._alias).get_or_create(name=self._name(number))[1]

    def bulk_create(self, number: int) -> int:
        tags = [Tag(name=self._name(each)) for each in range(2)]
        return len(Tag.objects.using(self._alias).bulk_create(tags, ignore_conflicts=True))

    def touch(self, number: int) -> int:
        return self._one(number).update(name=F("name"))

    def forget(self) -> None:
        """Delete all of them."""
        self._all()._raw_delete(self._alias)
