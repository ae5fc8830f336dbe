"""What every pooled backend promises, on every kind of database."""

from __future__ import annotations

import gc
import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, connections, transaction
from django.db.backends.signals import connection_created
from django.db.utils import DatabaseError, OperationalError, ProgrammingError
from django.test import override_settings

from django_poolrouter import PoolTimeout, pools
from django_poolrouter.pooling import Lease, Pool
from tests.conftest import Vendor
from tests.contract.numbers import create_table

SESSION_ID = {
    "postgresql": "SELECT pg_backend_pid()",
    "mariadb": "SELECT CONNECTION_ID()",
}
SMALL = {"pool_size": 2, "max_overflow": 0, "pool_timeout": 0.2}


def query(sql: str, using: str = "default") -> Any:
    with connections[using].cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]


@pytest.fixture
def numbers(vendor: Vendor, use_databases: Any) -> Any:
    """An empty table in a pooled database."""
    use_databases({"default": vendor.database(SMALL)})
    create_table()
    return lambda: query("SELECT count(*) FROM numbers")


def insert(n: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO numbers VALUES (%s)", [n])


def in_forked_child(work: Callable[[], Any]) -> Any:
    """Return what a piece of work returns in a child, as JSON can hold it."""
    answer, told = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(told, json.dumps(work()).encode())
            connections.close_all()
            pools.dispose_all()
        finally:
            os._exit(0)
    os.close(told)
    with os.fdopen(answer) as file:
        text = file.read()
    os.waitpid(child, 0)
    return json.loads(text)


def test_connection__is_the_drivers_own(vendor: Vendor, use_databases: Any) -> None:
    use_databases({"default": vendor.database()})
    connection.ensure_connection()
    drivers = {kind.__module__.split(".")[0] for kind in type(connection.connection).__mro__}
    assert drivers & {"sqlite3", "psycopg", "MySQLdb"}


def test_close__keeps_the_physical_connection(vendor: Vendor, use_databases: Any) -> None:
    use_databases({"default": vendor.database()})
    connection.ensure_connection()
    first = connection.connection
    connection.close()
    assert connection.connection is None
    assert pools["default"].get_pool_status()["checkedin"] == 1
    connection.ensure_connection()
    assert connection.connection is first


def test_threads__share_the_connections(vendor: Vendor, use_databases: Any) -> None:
    use_databases({"default": vendor.database()})
    for _ in range(3):
        thread = threading.Thread(target=lambda: (query("SELECT 1"), connection.close()))
        thread.start()
        thread.join()
    status = pools["default"].status()
    assert (status.connects, status.checkouts) == (1, 3)


def test_connection_created__is_sent_at_every_checkout(vendor: Vendor, use_databases: Any) -> None:
    use_databases({"default": vendor.database()})
    sent = []

    def note(connection: Any, **kwargs: Any) -> None:
        sent.append(connection)

    connection_created.connect(note)
    try:
        for _ in range(3):
            connection.ensure_connection()
            connection.close()
    finally:
        connection_created.disconnect(note)
    assert [wrapper.alias for wrapper in sent] == ["default"] * 3
    assert set(map(id, sent)) == {id(connections["default"])}


def test_set_up__runs_once_for_a_physical_connection(
    vendor: Vendor, use_databases: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_databases({"default": vendor.database()})
    set_up = []
    stock = type(connections["default"]).__bases__[1]
    original = stock.init_connection_state

    def counted(self: Any) -> None:
        set_up.append(self)
        original(self)

    monkeypatch.setattr(stock, "init_connection_state", counted)
    for _ in range(3):
        connection.ensure_connection()
        connection.close()
    assert len(set_up) == 1


def test_open_transaction__does_not_survive_checkin(numbers: Any) -> None:
    connection.ensure_connection()
    connection.set_autocommit(False)
    insert(1)
    connection.close()
    assert numbers() == 0
    assert connection.get_autocommit()


def test_raw_begin__does_not_survive_checkin(numbers: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
    insert(1)
    connection.close()
    assert numbers() == 0


def test_failed_transaction__does_not_survive_checkin(numbers: Any) -> None:
    insert(1)
    connection.set_autocommit(False)
    with pytest.raises(DatabaseError):
        insert(1)
    connection.close()
    assert numbers() == 1


def test_atomic__commits_and_rolls_back(numbers: Any) -> None:
    with transaction.atomic():
        insert(1)
        with suppress(ZeroDivisionError), transaction.atomic():
            insert(2)
            raise ZeroDivisionError
    connection.close()
    assert numbers() == 1


def test_close_in_atomic__leaves_the_wrapper_without_connection(numbers: Any) -> None:
    def close_and_go_on() -> None:
        with transaction.atomic():
            insert(1)
            connection.close()
            assert connection.connection is None
            with pytest.raises(ProgrammingError, match="Cannot open a new connection"):
                insert(2)

    close_and_go_on()
    assert numbers() == 0


def test_session_id__is_known_to_the_status(server: Vendor, use_databases: Any) -> None:
    use_databases({"default": server.database()})
    with pools["default"].connection() as raw:
        driver = pools["default"].connector
        assert driver is not None
        cursor = raw.cursor()
        cursor.execute(SESSION_ID[server.name])
        assert cursor.fetchone()[0] == driver.backend_id(raw)


def test_exhausted_pool__raises_within_the_timeout(vendor: Vendor, use_databases: Any) -> None:
    use_databases({"default": vendor.database(SMALL)})
    with pools["default"].connection(), pools["default"].connection():
        with pytest.raises(PoolTimeout, match=r"size 2 \+ overflow 0, 2 in use") as caught:
            connection.ensure_connection()
        assert isinstance(caught.value, OperationalError)
    assert pools["default"].status().timeouts == 1


def test_pool_false__behaves_as_stock(vendor: Vendor, use_databases: Any) -> None:
    use_databases({"default": vendor.database(False, CONN_MAX_AGE=60)})
    connection.ensure_connection()
    first = connection.connection
    connection.close_if_unusable_or_obsolete()
    assert connection.connection is first
    connection.close()
    connection.ensure_connection()
    assert connection.connection is not first
    assert set(pools["default"].get_pool_status().values()) == {0}
    assert pools["default"].execute("SELECT 1") == [(1,)]
    with pools["default"].connection() as raw:
        assert raw is connection.connection


def test_conn_max_age__is_refused_when_the_pool_is_built(
    vendor: Vendor, use_databases: Any
) -> None:
    use_databases({"default": vendor.database(CONN_MAX_AGE=60)})
    with pytest.raises(ImproperlyConfigured, match=r"CONN_MAX_AGE.*must be 0.*not 60"):
        connection.ensure_connection()


def test_new_database_name__means_another_pool(
    vendor: Vendor, use_databases: Any, tmp_path: Any
) -> None:
    use_databases({"default": vendor.database()})
    connection.ensure_connection()
    connection.close()
    before = pools["default"]
    connection.settings_dict["NAME"] = {
        "sqlite": str(tmp_path / "other.sqlite3"),
        "postgresql": "postgres",
        "mariadb": "mysql",
    }[vendor.name]
    assert pools["default"] is not before
    assert pools["default"].status().open == 0


def test_copy_with_other_options__means_another_pool(vendor: Vendor, use_databases: Any) -> None:
    use_databases({"default": vendor.database()})
    copied = connections["default"].copy()
    copied.settings_dict["OPTIONS"]["pool"] = {"pool_size": 1}
    assert copied.database_pool is not connections["default"].database_pool
    assert connections["default"].copy().database_pool is connections["default"].database_pool


def test_rotated_password__counts_from_the_next_connection_on(
    server: Vendor, use_databases: Any
) -> None:
    use_databases({"default": server.database()})
    pool = pools["default"]
    with pool.connection():
        connection.settings_dict["PASSWORD"] = "wrong"
        assert pools["default"] is pool
        with pytest.raises(OperationalError) as caught:
            connection.ensure_connection()
        assert "wrong" not in str(caught.value)
        assert server.settings["PASSWORD"] not in str(caught.value)


def test_callable_password__is_called_for_each_connection(
    server: Vendor, use_databases: Any
) -> None:
    calls = []

    def token() -> str:
        calls.append(1)
        return str(server.settings["PASSWORD"])

    use_databases({"default": server.database(OPTIONS={"password": token}, PASSWORD="")})
    with pools["default"].connection(), pools["default"].connection():
        pass
    connection.ensure_connection()
    assert len(calls) == 2


def test_dispose__closes_now_or_at_checkin_and_opens_afresh(
    vendor: Vendor, use_databases: Any
) -> None:
    use_databases({"default": vendor.database()})
    pool = pools["default"]
    connection.ensure_connection()
    leased = connection.connection
    with pool.connection():
        pass
    pool.dispose()
    assert pool.status().open == 0
    assert query("SELECT 1") == 1
    connection.close()
    connection.ensure_connection()
    assert connection.connection is not leased
    assert pool.status().checkedout == 1


def test_dispose__at_the_moment_of_a_checkout_is_not_seen_by_the_caller(
    vendor: Vendor, use_databases: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_databases({"default": vendor.database()})
    pool = pools["default"]
    with pool.connection():
        pass
    checkout = Pool.checkout

    def dispose_first(self: Pool, timeout: float | None = None) -> Lease:
        monkeypatch.undo()
        pool.dispose()
        return checkout(self, timeout)

    monkeypatch.setattr(Pool, "checkout", dispose_first)
    assert query("SELECT 1") == 1


def test_close_pool__closes_what_rests(vendor: Vendor, use_databases: Any) -> None:
    use_databases({"default": vendor.database()})
    for _ in range(3):
        connection.ensure_connection()
        connection.close()
        connection.close_pool()
    status = pools["default"].status()
    assert status.open == 0


def test_close_pool__in_a_forked_child_does_nothing(vendor: Vendor, use_databases: Any) -> None:
    """There Celery calls it around each task."""
    use_databases({"default": vendor.database()})

    def connects() -> int:
        for _ in range(3):
            connection.ensure_connection()
            connection.close()
            connection.close_pool()
        return int(pools["default"].status().connects)

    assert in_forked_child(connects) == 1


def test_time_zone_of_a_test__counts_in_a_forked_child_too(
    postgresql_database: dict[str, str], use_databases: Any
) -> None:
    use_databases({"default": Vendor("postgresql", postgresql_database).database()})

    def changed() -> str:
        connection.ensure_connection()
        connection.close()
        with override_settings(USE_TZ=False, TIME_ZONE="Asia/Tokyo"):
            return str(query("SHOW TimeZone"))

    assert in_forked_child(changed) == "Asia/Tokyo"


def test_session__gives_back_what_it_took(numbers: Any) -> None:
    with pools.session("default") as session:
        assert session.in_atomic_block
        insert(1)
    assert connection.connection is None
    assert pools["default"].execute("SELECT n FROM numbers WHERE n = %s", [1]) == [(1,)]
    connection.ensure_connection()
    with pools.session("default"):
        pass
    assert connection.connection is not None


def test_raw_connection__is_in_autocommit_and_rolled_back(numbers: Any) -> None:
    with pools["default"].connection() as raw:
        raw.cursor().execute("INSERT INTO numbers VALUES (1)")
        raw.cursor().execute("BEGIN")
        raw.cursor().execute("INSERT INTO numbers VALUES (2)")
    assert numbers() == 1


def test_raw_connection__without_a_pool_is_rolled_back_where_django_keeps_it(
    vendor: Vendor, use_databases: Any
) -> None:
    use_databases({"default": vendor.database(False)})
    create_table()
    connection.ensure_connection()
    with pools["default"].connection() as raw:
        raw.cursor().execute("INSERT INTO numbers VALUES (1)")
        raw.cursor().execute("BEGIN")
        raw.cursor().execute("INSERT INTO numbers VALUES (2)")
    assert connection.connection is raw
    assert query("SELECT count(*) FROM numbers") == 1
    with transaction.atomic():
        insert(3)
        with pools["default"].connection() as same:
            assert same is raw
    assert query("SELECT count(*) FROM numbers") == 2, "the block goes on"
    connection.close()


def test_raw_connection__without_a_pool_may_be_dead_in_the_end(
    vendor: Vendor, use_databases: Any
) -> None:
    use_databases({"default": vendor.database(False)})
    connection.ensure_connection()
    driver_error: type[Exception] = connection.Database.Error
    with pools["default"].connection() as raw:
        raw.close()
    assert connection.connection is raw
    with pytest.raises(driver_error):
        raw.cursor().execute("SELECT 1")
    connection.connection = None  # as Django does when it finds that out
    assert query("SELECT 1") == 1
    assert connection.connection is not raw


def test_sixteen_threads__share_four_connections(vendor: Vendor, use_databases: Any) -> None:
    pool = {"pool_size": 4, "max_overflow": 0, "pool_timeout": 30}
    use_databases({"default": vendor.database(pool)})
    start = threading.Barrier(16)
    seen: set[int] = set()

    def work() -> int:
        start.wait()
        for _ in range(50):
            if vendor.name in SESSION_ID:
                seen.add(query(SESSION_ID[vendor.name]))
            else:
                query("SELECT 1")
            connection.close_if_unusable_or_obsolete()
        return 50

    with ThreadPoolExecutor(16) as executor:
        done = [future.result() for future in [executor.submit(work) for _ in range(16)]]
    status = pools["default"].status()
    assert sum(done) == 800
    assert status.checkouts == 800
    assert status.connects <= 4
    assert len(seen) <= 4


def test_fork__gives_the_child_pools_of_its_own(vendor: Vendor, use_databases: Any) -> None:
    use_databases({"default": vendor.database()})
    sql = SESSION_ID.get(vendor.name, "SELECT 1")
    connection.ensure_connection()
    with pools["default"].connection():
        pass
    parents = query(sql)
    assert pools["default"].status().open == 2

    def look() -> list[Any]:
        return [pools["default"].status().open, connection.connection, query(sql)]

    opened, held, childs = in_forked_child(look)
    assert (opened, held) == (0, None)
    assert childs != parents or vendor.name == "sqlite"
    assert query(sql) == parents
    with pools["default"].connection() as raw:
        raw.cursor().execute(sql)


ONE = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 5}


def test_thread_that_ends_without_close__gives_its_lease_back(
    vendor: Vendor, use_databases: Any
) -> None:
    use_databases({"default": vendor.database(ONE)})
    gc.disable()
    try:
        for _ in range(3):
            thread = threading.Thread(target=lambda: query("SELECT 1"))
            thread.start()
            thread.join()
    finally:
        gc.enable()
    status = pools["default"].status()
    assert (status.connects, status.checkouts, status.checkedout) == (1, 3, 0)


def test_thread_that_ends_in_a_transaction__leaves_nothing_behind(numbers: Any) -> None:
    def work() -> None:
        transaction.set_autocommit(False)
        insert(1)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert numbers() == 0


def test_wrapper_shared_with_another_thread__keeps_its_lease(
    vendor: Vendor, use_databases: Any
) -> None:
    use_databases({"default": vendor.database(ONE)})
    shared = connections["default"].copy()
    shared.inc_thread_sharing()
    thread = threading.Thread(target=shared.ensure_connection)
    thread.start()
    thread.join()
    assert pools["default"].status().checkedout == 1
    with shared.cursor() as cursor:
        cursor.execute("SELECT 1")
    assert pools["default"].status().checkouts == 1
    shared.close()


def test_dropped_wrapper__gives_its_lease_back(vendor: Vendor, use_databases: Any) -> None:
    use_databases({"default": vendor.database(ONE)})
    copied = connections["default"].copy()
    copied.ensure_connection()
    del copied
    gc.collect()
    assert query("SELECT 1") == 1
    assert pools["default"].status().connects == 1
