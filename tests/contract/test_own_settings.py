"""``own_settings``: what a backend sends again for each lease neither marks nor stays."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.db.backends.postgresql import base

from django_poolrouter import pools
from django_poolrouter.backends.mixin import PooledDatabaseWrapper
from tests.conftest import Vendor
from tests.support.engines import engine_of


class Tenants(PooledDatabaseWrapper, base.DatabaseWrapper):
    """Sends the search_path once for each lease, as django-tenants may."""

    own_settings = ("search_path",)
    tenant = "one"
    is_set = False

    def close(self) -> None:
        self.is_set = False
        super().close()

    def _cursor(self, name: str | None = None) -> Any:
        cursor = super()._cursor(name)
        if not self.is_set:
            self.is_set = True
            cursor.execute(f"SET search_path = {self.tenant}")
        return cursor


@pytest.fixture(params=["request", "transaction"], autouse=True)
def hold(request: pytest.FixtureRequest, postgresql_database: Any, use_databases: Any) -> None:
    pool = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0, "hold": request.param}
    database = Vendor("postgresql", postgresql_database).database(pool)
    use_databases({"default": {**database, "ENGINE": engine_of(Tenants)}})


def path() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SHOW search_path")
        found: str = cursor.fetchone()[0]
        return found


def test_each_lease__has_its_own_and_is_not_marked() -> None:
    for tenant in ("one", "two", "one"):
        connection.tenant = tenant  # type: ignore[attr-defined]
        assert path() == tenant
        with transaction.atomic():
            assert path() == tenant
        connection.close()
    assert pools["default"].status().resets == 0


def test_rollback__never_brings_back_that_of_another_lease() -> None:
    assert path() == "one"
    connection.close()
    connection.tenant = "two"  # type: ignore[attr-defined]
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT 1 / 0")
    connection.is_set = True  # type: ignore[attr-defined]  # the backend overlooks the rollback
    assert path() != "one"
    connection.close()


def test_swallowed_error_in_a_block__never_brings_back_that_of_another_lease() -> None:
    assert path() == "one"
    connection.close()
    connection.tenant = "two"  # type: ignore[attr-defined]
    with transaction.atomic():
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT 1 / 0")
        assert path() != "one"
    connection.close()


def test_raw_connection__has_no_tenant() -> None:
    assert path() == "one"
    connection.close()
    with pools["default"].connection() as raw:
        assert raw.execute("SHOW search_path").fetchone()[0] not in ("one", "two")
    assert path() == "one"
    connection.close()


def test_other_settings__mark_as_ever() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET work_mem = '1MB'")
    connection.close()
    assert pools["default"].status().marked == 1
