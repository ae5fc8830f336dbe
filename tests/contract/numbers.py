"""A table of numbers, and what tests do with it."""

from __future__ import annotations

from typing import Any

from django.db import connection, connections

from django_poolrouter import pools

SMALL = {"pool_size": 2, "max_overflow": 0, "pool_timeout": 5}


def create_table() -> None:
    """Make the table anew, and close the connection."""
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS numbers")
        cursor.execute("CREATE TABLE numbers (n integer PRIMARY KEY)")
    connection.close()


def insert(*numbers: int) -> None:
    with connection.cursor() as cursor:
        for n in numbers:
            cursor.execute("INSERT INTO numbers VALUES (%s)", [n])


def select() -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT n FROM numbers ORDER BY n")
        return [n for (n,) in cursor.fetchall()]


def committed() -> list[int]:
    """Return what another connection sees."""
    other = connections["default"].copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT n FROM numbers ORDER BY n")
            return [n for (n,) in cursor.fetchall()]
    finally:
        other.close()


def leased() -> int:
    """Return how many connections are lent."""
    return pools["default"].status().checkedout


def checkouts() -> int:
    return pools["default"].status().checkouts


def raw() -> Any:
    """Return the driver's connection that Django has now."""
    return connections["default"].connection
