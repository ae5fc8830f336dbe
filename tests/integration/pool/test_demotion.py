"""A primary that became read-only: what was lent of it is not lent again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
from django.db import connections, transaction
from django.db.utils import DatabaseError

from django_poolrouter import pools
from tests.conftest import Vendor
from tests.servers import FaultProxy

WRITE = "INSERT INTO demoted VALUES (1)"


def execute(sql: str, using: str = "default") -> Any:
    with connections[using].cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else None


def close(using: str = "default") -> None:
    connections[using].close()


def status(using: str = "default") -> Any:
    return pools[using].status()


def fill(number: int = 3) -> None:
    with ExitStack() as stack:
        for _ in range(number):
            stack.enter_context(pools["default"].connection())


def in_autocommit() -> None:
    execute(WRITE)


@transaction.atomic
def in_atomic() -> None:
    execute("SELECT 1")
    execute(WRITE)


writes = pytest.mark.parametrize("write", [in_autocommit, in_atomic])


@pytest.fixture
def table(server: Vendor, request: pytest.FixtureRequest, use_databases: Any) -> None:
    """An empty table on primary and replicas."""
    use_databases({"default": server.database()})
    execute("DROP TABLE IF EXISTS demoted")
    execute("CREATE TABLE demoted (n integer)")
    close()
    pools.dispose_all()
    request.getfixturevalue(server.name).wait_for_replicas()


@pytest.fixture
def moving_host(
    server: Vendor, request: pytest.FixtureRequest, fault_proxy: Callable[[int], FaultProxy]
) -> FaultProxy:
    """A name that still leads to a server which is a replica now."""
    return fault_proxy(request.getfixturevalue(server.name).ports["replica1"])


@writes
def test_demoted_primary__is_left_once_its_name_leads_elsewhere(
    server: Vendor, table: None, moving_host: FaultProxy, use_databases: Any, write: Any
) -> None:
    use_databases({"default": server.database(PORT=str(moving_host.port))})
    fill(3)
    with pytest.raises(DatabaseError):
        write()
    close()
    assert (status().open, status().cleared) == (0, 3)
    moving_host.redirect(int(server.settings["PORT"]))
    write()
    assert execute("SELECT count(*) FROM demoted")[0] == (1,)
    assert status().connects == 4


def test_lease_of_before_the_clear__does_not_clear_again(
    server: Vendor, table: None, moving_host: FaultProxy, use_databases: Any
) -> None:
    use_databases({"default": server.database(PORT=str(moving_host.port))})
    late = connections["default"].copy()
    late.ensure_connection()
    for refused in (execute, late.cursor().execute):
        with pytest.raises(DatabaseError):
            refused(WRITE)
    close()
    moving_host.redirect(int(server.settings["PORT"]))
    execute(WRITE)
    close()
    late.close()
    execute(WRITE)
    assert (status().connects, status().cleared) == (3, 2)


def test_primary_that_refuses_for_a_while__is_written_to_by_new_connections(
    mariadb: Any, mariadb_database: dict[str, str], use_databases: Any
) -> None:
    use_databases({"default": Vendor("mariadb", mariadb_database).database()})
    execute("CREATE OR REPLACE TABLE demoted (n integer)")
    close()
    fill(2)
    mariadb.sql("primary", "SET GLOBAL read_only = 1")
    try:
        with pytest.raises(DatabaseError, match="read-only"):
            execute(WRITE)
        close()
        assert status().open == 0
    finally:
        mariadb.sql("primary", "SET GLOBAL read_only = 0")
    execute(WRITE)
    assert status().connects == 3


def test_session_that_wishes_to_be_read_only__is_no_reason_to_clear(
    server: Vendor, table: None, use_databases: Any
) -> None:
    use_databases({"default": server.database()})
    fill(2)
    characteristics = {"postgresql": "SESSION CHARACTERISTICS AS", "mariadb": "SESSION"}
    execute(f"SET {characteristics[server.name]} TRANSACTION READ ONLY")
    with pytest.raises(DatabaseError, match=r"read-only|READ ONLY"):
        execute(WRITE)
    close()
    assert (status().open, status().cleared) == (2, 0)


def test_replica__refuses_without_being_cleared(
    server: Vendor, table: None, request: pytest.FixtureRequest, use_databases: Any
) -> None:
    replica = str(request.getfixturevalue(server.name).ports["replica1"])
    router = {"REPLICA_OF": "default"}
    use_databases(
        {
            "default": server.database(),
            "replica": server.database(PORT=replica, ROUTER=router),
        }
    )
    for _ in range(2):
        with pytest.raises(DatabaseError):
            execute(WRITE, "replica")
        close("replica")
    # Not its connects: the monitor of replicas may need one too.
    assert (status("replica").cleared, status("replica").closes) == (0, 0)
