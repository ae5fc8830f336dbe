"""Passwords that are rotated while a pool is open, on the server itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection, connections
from django.db.utils import OperationalError

from django_poolrouter import pools
from tests.conftest import Vendor

Rotate = Callable[[str], None]


@pytest.fixture
def rotate(server: Vendor, request: pytest.FixtureRequest) -> Iterator[Rotate]:
    """Give the application's account another password."""
    cluster = request.getfixturevalue(server.name)
    statement = {
        "postgresql": "ALTER ROLE {} PASSWORD '{}'",
        "mariadb": "ALTER USER {} IDENTIFIED BY '{}'",
    }[server.name]

    def change(password: str) -> None:
        cluster.sql("primary", statement.format(cluster.USER, password))
        cluster.wait_for_replicas()

    yield change
    change(cluster.PASSWORD)


def open_connections() -> tuple[int, int]:
    with pools["default"].connection(), pools["default"].connection():
        status = pools["default"].status()
        return status.open, status.connects


def test_password_in_settings__is_read_for_each_connection(
    server: Vendor, use_databases: Any, rotate: Rotate
) -> None:
    use_databases({"default": server.database()})
    with pools["default"].connection():
        rotate("second")
        with pytest.raises(OperationalError):
            connection.ensure_connection()
        connection.settings_dict["PASSWORD"] = "second"
        connection.ensure_connection()  # beside one that was opened with the first
        connection.close()
    assert open_connections() == (2, 2)


@pytest.mark.parametrize("reset", ["rollback", "session"])
def test_callable_password__is_asked_for_each_connection(
    server: Vendor, use_databases: Any, rotate: Rotate, reset: str
) -> None:
    vault = {"password": server.settings["PASSWORD"]}
    options = {"password": lambda: vault["password"]}
    database = server.database({"reset": reset}, OPTIONS=options, PASSWORD="")
    use_databases({"default": database})
    with pools["default"].connection():
        rotate("second")
        vault["password"] = "second"
        connection.ensure_connection()
        connection.close()
    assert open_connections() == (2, 2)


def test_callable_password__is_asked_for_connections_beside_the_pool(
    server: Vendor, use_databases: Any
) -> None:
    options = {"password": lambda: server.settings["PASSWORD"]}
    use_databases(
        {
            "default": server.database(OPTIONS=options, PASSWORD=""),
            "unpooled": server.database(False, OPTIONS=options, PASSWORD=""),
        }
    )
    with connections["unpooled"].cursor() as cursor:
        cursor.execute("SELECT 1")
    with connection._nodb_cursor() as cursor:  # makes and drops test databases
        cursor.execute("SELECT 1")


def test_callable_password_that_fails__is_the_users_error_and_takes_no_room(
    server: Vendor, use_databases: Any
) -> None:
    answers: list[Any] = [LookupError("the vault is sealed"), server.settings["PASSWORD"]]

    def token() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    pool = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0}
    use_databases({"default": server.database(pool, OPTIONS={"password": token}, PASSWORD="")})
    with pytest.raises(LookupError, match="sealed"):
        connection.ensure_connection()
    connection.ensure_connection()
    assert pools["default"].status().connect_errors == 1
