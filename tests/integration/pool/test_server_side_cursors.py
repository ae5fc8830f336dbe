"""Django's server-side cursors of PostgreSQL tell the pool what they change in the session."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection, transaction

from django_poolrouter import pools
from tests.conftest import Vendor

LEAVE = "SELECT set_config('app.user_id', '7', false)"
LOOK = "SELECT nullif(current_setting('app.user_id', true), '')"


def user() -> Any:
    with connection.cursor() as cursor:
        cursor.execute(LOOK)
        return cursor.fetchone()[0]


@pytest.fixture(params=[True, False], ids=["bound by the server", "bound by the client"])
def server_binds(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(params=["request", "transaction"], autouse=True)
def use(
    request: pytest.FixtureRequest,
    server_binds: bool,
    use_databases: Any,
    postgresql_database: dict[str, str],
) -> None:
    pool = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0, "hold": request.param}
    vendor = Vendor("postgresql", postgresql_database)
    use_databases({"default": vendor.database(pool, OPTIONS={"server_side_binding": server_binds})})


def change() -> None:
    with connection.chunked_cursor() as cursor:
        cursor.execute(LEAVE)
        assert cursor.fetchall() == [("7",)]


def test_setting_of_a_chunked_cursor__is_there_until_the_lease_ends() -> None:
    change()
    assert user() == "7"
    connection.close()
    assert user() is None
    connection.close()
    assert pools["default"].status().marked == 1


def test_setting_of_a_chunked_cursor_in_a_transaction__ends_with_the_lease() -> None:
    with transaction.atomic():
        change()
    assert user() == "7"
    connection.close()
    assert user() is None
    connection.close()
