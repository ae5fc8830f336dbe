"""Which settings make another pool, and which pools ``dispose()`` and ``clear()`` mean."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, connections
from django.utils.connection import ConnectionDoesNotExist

from django_poolrouter import PoolManager, pools
from django_poolrouter.process.registry import registry
from tests.conftest import Vendor
from tests.contract.numbers import SMALL, create_table
from tests.support.waiting import eventually

# The settings that Django documents, by whether the server learns of them.
REACHES_SERVER = {
    "NAME": "other",
    "USER": "other",
    "HOST": "other",
    "PORT": "1",
    "OPTIONS": {"pool": True},
    "TIME_ZONE": "Europe/Vienna",
    "ENGINE": "shop.postgis",
    "IS_TEST_MIRROR": True,
}
STAYS_HERE = {
    "ATOMIC_REQUESTS": True,
    "AUTOCOMMIT": False,
    "CONN_HEALTH_CHECKS": True,
    "CONN_MAX_AGE": 5,
    "DISABLE_SERVER_SIDE_CURSORS": True,
    "PASSWORD": "rotated",
    "ROUTER": {"REPLICA_OF": "default"},
    "TEST": {"NAME": "other"},
    "SCHEMA": "tenant",
    "Anything else": {"of": ["others"]},
}
NO_SERVER = {
    "ENGINE": "django_poolrouter.backends.postgresql",
    "NAME": "shop",
    "HOST": "nowhere.invalid",
}


@pytest.fixture
def unreachable(use_databases: Any) -> None:
    """A pooled database whose server is not asked."""
    use_databases({"default": dict(NO_SERVER)})


@pytest.fixture
def database(vendor: Vendor, use_databases: Any) -> Vendor:
    use_databases({"default": vendor.database(SMALL)})
    create_table()
    return vendor


def query(alias: str = "default") -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT 1")
    connections[alias].close()


def made() -> int:
    """Return how many pools the process has."""
    return len(registry.all_pools())


# -- identity ------------------------------------------------------------------------------


@pytest.mark.parametrize("key", REACHES_SERVER)
def test_setting_that_reaches_the_server__has_a_pool_of_its_own(
    key: str, unreachable: None
) -> None:
    first = connection.database_pool
    before = dict(connection.settings_dict)
    connection.settings_dict[key] = REACHES_SERVER[key]
    assert connection.database_pool is not first
    connection.settings_dict.clear()
    connection.settings_dict.update(before)
    assert connection.database_pool is first
    assert made() == 2


@pytest.mark.parametrize("key", STAYS_HERE)
def test_other_settings__share_the_pool(key: str, unreachable: None) -> None:
    first = connection.database_pool
    connection.settings_dict[key] = STAYS_HERE[key]
    assert connection.database_pool is first
    other = connection.copy()
    assert other.database_pool is first
    assert made() == 1


def test_sixty_tenants__are_served_by_one_small_pool(database: Vendor) -> None:
    """django-tenants writes the schema of the moment into the settings."""
    for number in range(60):
        connection.settings_dict["SCHEMA"] = f"tenant{number}"
        query()
    assert made() == 1
    assert pools["default"].status().open == 1


def test_change_of_tenant__does_not_ask_the_registry(
    unreachable: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = connection.database_pool
    asked: list[Any] = []
    monkeypatch.setattr(registry, "handle_for", asked.append)
    for number in range(3):
        connection.settings_dict["SCHEMA"] = f"tenant{number}"
        assert connection.database_pool is first
    assert asked == []


def test_identity_settings__of_the_backend_class_make_pools(
    database: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(connections["default"]), "identity_settings", ("WAREHOUSE",))
    del connections["default"]
    found = []
    for name in ("small", "large", "small", None):
        connection.settings_dict["WAREHOUSE"] = name
        query()
        found.append(connection.database_pool)
    del connection.settings_dict["WAREHOUSE"]
    assert connection.database_pool is found[3]
    assert found[0] is found[2]
    assert len({id(pool) for pool in found}) == 3
    assert [pool.status().open for pool in found] == [1, 1, 1, 1]


def test_connections__are_opened_with_the_settings_of_their_pool(
    database: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = type(connections["default"])
    opened: list[str] = []

    def get_connection_params(self: Any) -> Any:
        opened.append(self.settings_dict["WAREHOUSE"])
        return stock(self)

    stock = kind.get_connection_params
    monkeypatch.setattr(kind, "identity_settings", ("WAREHOUSE",))
    del connections["default"]
    monkeypatch.setattr(kind, "get_connection_params", get_connection_params)
    connection.settings_dict["WAREHOUSE"] = "small"
    small = connection.database_pool
    connection.settings_dict["WAREHOUSE"] = "large"
    query()
    assert small is not None
    with small.connection():
        pass
    assert opened == ["large", "small"]


def test_rotated_password__counts_for_the_next_connection_of_the_pool(unreachable: None) -> None:
    pool = connection.database_pool
    connection.settings_dict["PASSWORD"] = "rotated"
    assert connection.database_pool is pool
    assert pool is not None
    assert pool.connector is not None
    assert pool.connector.settings["PASSWORD"] == "rotated"


# -- settings that another thread changes ---------------------------------------------------


class Unsteady(dict[str, Any]):
    """Settings that another thread adds to while they are read."""

    def _grow(self) -> None:
        self[f"key{len(self)}"] = 1

    def __iter__(self) -> Iterator[str]:
        for key in super().__iter__():
            yield key
            self._grow()

    def items(self) -> Any:
        for item in super().items():
            yield item
            self._grow()


def test_settings_that_grow_meanwhile__are_copied_at_once(unreachable: None) -> None:
    wrapper = connections["default"]
    wrapper.settings_dict["OPTIONS"] = Unsteady(wrapper.settings_dict["OPTIONS"], one=1, two=2)
    wrapper.settings_dict = Unsteady(wrapper.settings_dict)
    assert wrapper.database_pool is not None


def test_pool_is_found__by_one_look_at_the_settings(
    vendor: Vendor, use_databases: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_databases({"default": vendor.database(SMALL)})
    wrapper = connections["default"]
    settings = vars(wrapper).pop("settings_dict")
    looks: list[str] = []

    def look(self: Any) -> dict[str, Any]:
        looks.append(sys._getframe(1).f_code.co_name)
        # As if another thread took the database away after each look.
        return settings if len(looks) == 1 else {**settings, "NAME": None}

    monkeypatch.setattr(type(wrapper), "settings_dict", property(look), raising=False)
    handle = registry.handle_for(wrapper)
    monkeypatch.undo()
    wrapper.settings_dict = settings
    assert looks == ["handle_for"]
    assert handle.pool is not None
    assert handle.pool is wrapper.database_pool


def test_threads_of_many_tenants__share_one_pool(database: Vendor) -> None:
    """All wrappers of an alias have one settings_dict, and each thread writes into it."""
    settings = connections["default"].settings_dict
    failures: list[BaseException] = []
    barrier = threading.Barrier(4)

    def work(number: int) -> None:
        try:
            barrier.wait()
            for turn in range(100):
                settings[f"KEY{number}"] = settings["SCHEMA"] = f"tenant{turn}"
                query()
                del settings[f"KEY{number}"]
                if turn % 10 == 0:  # as a new thread would
                    del connections["default"]
        except BaseException as error:
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert failures == []
    assert made() == 1


# -- all pools of an alias ------------------------------------------------------------------


@pytest.fixture
def renamed(vendor: Vendor, use_databases: Any) -> Any:
    """An alias with an idle connection under earlier settings, and one under those of now."""
    use_databases({"default": vendor.database(SMALL)})
    query()
    first = connection.database_pool
    options = connection.settings_dict["OPTIONS"]
    connection.settings_dict["OPTIONS"] = {**options, "pool": {**options["pool"], "max_idle": 60}}
    query()
    second = connection.database_pool
    assert first is not second
    return first, second


def opened(*them: Any) -> list[int]:
    return [pool.status().open for pool in them]


def test_dispose__ends_the_pools_of_earlier_settings_too(renamed: Any) -> None:
    assert opened(*renamed) == [1, 1]
    pools["default"].dispose()
    assert opened(*renamed) == [0, 0]


def test_dispose__of_a_pool_kept_from_before_ends_that_of_now_too(renamed: Any) -> None:
    renamed[0].dispose()
    assert opened(*renamed) == [0, 0]


def test_dispose__closes_leased_connections_of_earlier_settings_at_checkin(renamed: Any) -> None:
    first, second = renamed
    with first.connection():
        pools["default"].dispose()
        assert second.status().open == 0
    assert opened(*renamed) == [0, 0]


def test_clear__replaces_the_connections_of_earlier_settings_too(renamed: Any) -> None:
    pools["default"].clear()
    assert opened(*renamed) == [0, 0]


def test_dispose__reaches_the_pools_of_an_alias_that_is_not_pooled_any_more(renamed: Any) -> None:
    connection.settings_dict["OPTIONS"] = {
        **connection.settings_dict["OPTIONS"],
        "pool": False,
    }
    assert not pools["default"].is_pooled
    pools["default"].clear()
    assert opened(*renamed) == [0, 0]
    query()
    with renamed[0].connection():
        pass
    pools["default"].dispose()
    assert opened(*renamed) == [0, 0]


def test_dispose__leaves_other_aliases_alone(vendor: Vendor, use_databases: Any) -> None:
    use_databases({"default": vendor.database(SMALL), "other": vendor.database(SMALL)})
    query()
    query("other")
    pools["default"].dispose()
    assert opened(pools["default"], pools["other"]) == [0, 1]


def test_dispose__waits_for_no_thread_that_makes_a_pool(renamed: Any) -> None:
    """The handler of a signal disposes of all pools, whatever the signal interrupted."""
    with registry._lock:
        thread = threading.Thread(target=PoolManager.cleanup_all)
        thread.start()
        thread.join(10)
        assert not thread.is_alive()
    assert opened(*renamed) == [0, 0]


# -- aliases that come and go -----------------------------------------------------------------


def open_files() -> Iterator[Path]:
    for number in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # that of the folder itself
            yield number.readlink()


@pytest.fixture
def left_behind(vendor: Vendor, tmp_path: Path) -> Callable[[], int]:
    """Return how many sessions or open files the tests have left at the database."""
    if vendor.name == "sqlite":
        return lambda: sum(file.parent == tmp_path for file in open_files())
    sql = {
        "postgresql": "SELECT count(*) - 1 FROM pg_stat_activity WHERE datname = 'contract'",
        "mariadb": "SELECT count(*) - 1 FROM information_schema.processlist WHERE db = 'contract'",
    }[vendor.name]

    def count() -> int:
        connection.close()
        pools.dispose_all()
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return int(cursor.fetchone()[0])

    return count


def test_alias_for_one_block__leaves_nothing_open(
    vendor: Vendor, use_databases: Any, left_behind: Callable[[], int]
) -> None:
    """An alias that is in no settings: its wrapper is made by hand, and thrown away."""
    use_databases({"default": vendor.database(SMALL)})
    kind = type(connections["default"])
    settings = connections["default"].settings_dict
    kept = []
    for number in range(5):
        alias = f"block{number}"
        connections[alias] = kind(dict(settings), alias)
        query(alias)
        kept += registry.all_pools(alias)
        del connections[alias]
    gc.collect()
    assert opened(*kept) == [0] * len(kept)
    assert eventually(lambda: left_behind() == 0)


def test_alias_taken_out_of_the_settings__is_closed_when_the_next_pool_is_made(
    vendor: Vendor, use_databases: Any
) -> None:
    use_databases({"default": vendor.database(SMALL)})
    databases = connections.settings
    kept = []
    for number in range(4):
        alias = f"block{number}"
        databases[alias] = {**databases["default"]}
        query(alias)
        kept.append(pools[alias])
        del connections[alias], databases[alias]
    assert opened(*kept) == [0, 0, 0, 1]
    with pytest.raises(ConnectionDoesNotExist):
        query("block0")


def test_alias_taken_out_of_the_settings__keeps_connections_that_are_in_use(
    vendor: Vendor, use_databases: Any
) -> None:
    use_databases({"default": vendor.database(SMALL)})
    databases = connections.settings
    databases["block"] = {**databases["default"]}
    wrapper = connections["block"]
    wrapper.ensure_connection()
    del databases["block"]
    query()
    with wrapper.cursor() as cursor:
        cursor.execute("SELECT 1")
    wrapper.close()
