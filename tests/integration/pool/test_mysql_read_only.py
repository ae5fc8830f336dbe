"""SET TRANSACTION on MySQL and MariaDB holds for as many transactions as with Django's engine."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import OperationalError, connection, transaction

from tests.integration.pool.test_mysql_transactions import engine, execute

__all__ = ["engine"]  # a fixture, by Django's own engine and by ours

pytestmark = pytest.mark.usefixtures("engine")


def insert(n: int) -> Any:
    return execute(f"INSERT INTO t (n) VALUES ({n})")


def test_read_only_for_the_next_transaction__ends_with_it() -> None:
    execute("SET TRANSACTION READ ONLY")
    with transaction.atomic():
        execute("SELECT 1")
    with transaction.atomic():
        insert(1)
    connection.close()


def test_read_only_set_inside_a_transaction__holds_for_the_next() -> None:
    with transaction.atomic():
        insert(1)
        execute("SET SESSION TRANSACTION READ ONLY")
    with pytest.raises(OperationalError, match="1792"), transaction.atomic():
        insert(2)
    connection.close()
