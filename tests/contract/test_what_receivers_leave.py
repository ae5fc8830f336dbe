"""What receivers of ``connection_created`` leave when they fail, are gone, or do not run.

A receiver runs at each checkout.  Without a pool it would run on a new session each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection
from django.db.backends.signals import connection_created

from django_poolrouter import pools
from tests.conftest import Vendor
from tests.contract.test_greeting import CHANGE

TEMPORARY = {
    "sqlite": "CREATE TEMP TABLE basket (n integer)",
    "postgresql": "CREATE TEMP TABLE basket (n integer)",
    "mariadb": "CREATE TEMPORARY TABLE basket (n integer)",
}


def query(sql: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else None


@contextmanager
def receiving(receive: Callable[[], object]) -> Iterator[None]:
    def receiver(**kwargs: Any) -> None:
        receive()

    connection_created.connect(receiver)
    try:
        yield
    finally:
        connection_created.disconnect(receiver)


@pytest.fixture(params=["request", "transaction"], autouse=True)
def use(request: pytest.FixtureRequest, vendor: Vendor, use_databases: Any) -> None:
    pool = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0, "hold": request.param}
    use_databases({"default": vendor.database(pool)})


def test_receiver_that_makes_a_temporary_table__works_at_each_checkout(vendor: Vendor) -> None:
    with receiving(lambda: query(TEMPORARY[vendor.name])):
        for _ in range(3):
            assert not query("SELECT n FROM basket")
            query("INSERT INTO basket VALUES (1)")
            assert [*query("SELECT n FROM basket")] == [(1,)], "the same session"
            connection.close()


@pytest.mark.parametrize("fails", ["before it sends", "after it sends"])
def test_error_of_a_receiver_that_is_swallowed__shows_nothing_of_the_last_user(
    vendor: Vendor, fails: str
) -> None:
    change, look = CHANGE[vendor.name]
    clean = query(look)
    connection.close()
    with receiving(lambda: query(change.format(7))):
        assert query(look)[0] == (7,)
        connection.close()

    fail = True

    def receive() -> None:
        if fails == "after it sends":
            query("SELECT 1")
        if fail:
            raise ValueError("the receiver fails")

    with receiving(receive):
        with pytest.raises(ValueError, match="the receiver fails"):
            query(look)
        fail = False
        assert query(look) == clean
        connection.close()


def test_receiver_that_is_gone__leaves_nothing(vendor: Vendor) -> None:
    change, look = CHANGE[vendor.name]
    clean = query(look)
    connection.close()
    with receiving(lambda: query(change.format(7))):
        query(look)
        connection.close()
    assert query(look) == clean
    connection.close()


def test_raw_connection_of_the_pool__has_nothing_of_receivers(vendor: Vendor) -> None:
    """Receivers do not run for it, so it must not have what they sent for another user."""
    change, look = CHANGE[vendor.name]
    clean = query(look)
    connection.close()
    with receiving(lambda: query(change.format(7))):
        query(look)
        connection.close()
        with pools["default"].connection() as raw:
            cursor = raw.cursor()
            cursor.execute(look)
            assert [*cursor.fetchall()] == [*clean]
            cursor.close()
        assert query(look)[0] == (7,)
        connection.close()


def test_receiver_that_connects_for_constraint_checks__works_at_each_checkout(
    vendor: Vendor,
) -> None:
    with receiving(lambda: query(TEMPORARY[vendor.name])):
        for _ in range(2):
            with connection.constraint_checks_disabled():
                query("INSERT INTO basket VALUES (1)")
            assert [*query("SELECT n FROM basket")] == [(1,)]
            connection.close()
