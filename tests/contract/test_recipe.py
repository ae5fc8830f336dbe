"""The recipe of the docs, two lines, on each stock backend and with every value of the option."""

from __future__ import annotations

from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from django_poolrouter import conf, pools
from django_poolrouter.backends.mixin import PooledDatabaseWrapper
from django_poolrouter.backends.wrapper.recipe import DRIVERS, driver_for
from django_poolrouter.drivers.driver import Driver
from tests.conftest import Vendor
from tests.contract.numbers import create_table, insert, select
from tests.support.databases import ENGINES
from tests.support.engines import engine_of, stock_wrapper


@pytest.fixture
def recipe(vendor: Vendor) -> type:
    return type("DatabaseWrapper", (PooledDatabaseWrapper, stock_wrapper(vendor.name)), {})


@pytest.fixture
def engine(recipe: type) -> str:
    return engine_of(recipe)


@pytest.mark.parametrize(
    "pool", [None, True, "batch", {"pool_size": 2, "max_overflow": 0}, {"max_size": 3}], ids=repr
)
def test_recipe__has_our_pool_alone(
    vendor: Vendor, engine: str, pool: Any, use_databases: Any
) -> None:
    use_databases({"default": {**vendor.database(pool), "ENGINE": engine}})
    assert conf.problems() == []
    for _ in range(2):
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        assert connection.pool is None
        connection.close()
    status = pools["default"].status()
    assert (status.checkouts, status.connects, status.checkedout) == (2, 1, 0)


def test_recipe__has_the_driver_of_its_vendor(
    vendor: Vendor, recipe: Any, use_databases: Any
) -> None:
    use_databases({"default": {"ENGINE": ENGINES[vendor.name], "NAME": "x"}})
    ours: Any = type(connections["default"])
    assert recipe.driver_class is ours.driver_class
    assert recipe.driver_class is not Driver


def test_recipe__may_name_another_driver(vendor: Vendor) -> None:
    stock = stock_wrapper(vendor.name)
    made: Any = type("W", (PooledDatabaseWrapper, stock), {"driver_class": Driver})
    assert made.driver_class is Driver
    further: Any = type("W", (made,), {})
    assert further.driver_class is Driver


@pytest.mark.parametrize("name", DRIVERS)
def test_driver__of_each_module_can_be_found(name: str) -> None:
    module = SimpleNamespace(__name__=f"{name}.dbapi2")
    try:
        assert issubclass(driver_for(module), Driver)
    except ModuleNotFoundError as error:
        pytest.skip(f"{error.name} is not installed")


@pytest.mark.parametrize("database", [SimpleNamespace(__name__="pymysql"), object()], ids=repr)
def test_driver__of_an_unknown_module_is_the_generic_one(database: Any) -> None:
    assert driver_for(database) is Driver


@pytest.mark.parametrize("hold", ["request", "transaction"])
def test_recipe__works_as_a_backend(
    vendor: Vendor, engine: str, hold: str, use_databases: Any
) -> None:
    pool = {"pool_size": 1, "max_overflow": 0, "hold": hold}
    use_databases({"default": {**vendor.database(pool), "ENGINE": engine}})
    create_table()
    with transaction.atomic():
        insert(1)
    with suppress(ZeroDivisionError), transaction.atomic():
        insert(2)
        raise ZeroDivisionError
    assert select() == [1]
    connection.close()
    assert pools["default"].status().connects == 1


def test_recipe__on_sqlite_in_memory_is_not_pooled(use_databases: Any) -> None:
    made = type("DatabaseWrapper", (PooledDatabaseWrapper, stock_wrapper("sqlite")), {})
    use_databases({"default": {"ENGINE": engine_of(made), "NAME": ":memory:"}})
    create_table()
    insert(1)
    connection.close()
    assert select() == [1]
    assert not pools["default"].is_pooled
    BaseDatabaseWrapper.close(connection)  # SQLite's own close() keeps a database in memory


def test_recipe__in_another_mode_of_sqlite_begins_at_once(
    use_databases: Any, tmp_path: Any
) -> None:
    made = type("DatabaseWrapper", (PooledDatabaseWrapper, stock_wrapper("sqlite")), {})
    options = {"transaction_mode": "EXCLUSIVE"} if hasattr(made, "transaction_modes") else {}
    if not options:
        pytest.skip("this Django has no transaction_mode")
    entry = {"ENGINE": engine_of(made), "NAME": tmp_path / "db", "OPTIONS": options}
    use_databases({"default": entry})
    with transaction.atomic():
        assert connection.connection is not None


def test_recipe__in_the_wrong_order_is_refused(vendor: Vendor) -> None:
    with pytest.raises(ImproperlyConfigured, match="first among its bases"):
        type("DatabaseWrapper", (stock_wrapper(vendor.name), PooledDatabaseWrapper), {})
