"""Questions for positions, and what counts as a write, on real servers."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import DatabaseError, connection, connections

from django_poolrouter import pools, scope
from django_poolrouter.drivers.deadlines import Deadline
from django_poolrouter.process.replication_logs import PooledServers
from django_poolrouter.routing import ServerFailed
from tests.conftest import Vendor
from tests.contract.numbers import create_table, select


@pytest.mark.parametrize("question", ["written", "replayed"])
def test_question__that_is_not_answered_in_time_leaves_the_thread_no_broken_connection(
    question: str, server: Vendor, use_databases: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_databases({"default": server.database()})

    def late(*_: Any, **__: Any) -> None:
        raise TimeoutError("no answer within 1 s")

    connection.ensure_connection()
    with monkeypatch.context() as patched:
        patched.setattr(Deadline, "require", late)
        with (
            pytest.raises(ServerFailed, match="no answer"),
            PooledServers().log_of("default") as log,
        ):
            getattr(log, question)()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)
    assert pools["default"].status().lost == 1


@pytest.fixture
def recorded(server: Vendor, use_databases: Any) -> str:
    """A primary with a replica, and a procedure there; returns the kind of server."""
    entry = server.database()
    use_databases({"default": entry, "copy": {**entry, "ROUTER": {"REPLICA_OF": "default"}}})
    create_table()
    with connection.cursor() as cursor:
        cursor.execute("DROP FUNCTION IF EXISTS add_number")
        cursor.execute("DROP PROCEDURE IF EXISTS add_number")
        cursor.execute(PROCEDURES[server.name])
    connection.close()
    return server.name


PROCEDURES = {
    "postgresql": "CREATE FUNCTION add_number(integer) RETURNS void LANGUAGE sql"
    " AS 'INSERT INTO numbers VALUES ($1)'",
    "mariadb": "CREATE PROCEDURE add_number(k integer) INSERT INTO numbers VALUES (k)",
}


@pytest.mark.parametrize("is_debugged", [False, True])
def test_procedure__counts_as_a_write(recorded: str, is_debugged: bool) -> None:
    connection.force_debug_cursor = is_debugged
    with scope() as entered:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchall()
            assert entered.wrote == set()
            cursor.callproc("add_number", [7])
        assert entered.wrote == {"default"}
    assert select() == [7]


@pytest.mark.parametrize("is_debugged", [False, True])
def test_copy__counts_as_a_write(recorded: str, is_debugged: bool) -> None:
    connection.force_debug_cursor = is_debugged
    with scope() as entered, connection.cursor() as cursor:
        if recorded == "mariadb":
            assert not hasattr(cursor, "copy")
            return
        with cursor.copy("COPY numbers FROM STDIN") as copy:
            copy.write_row([7])
        assert entered.wrote == {"default"}
    assert select() == [7]


def test_stream__counts_as_what_it_streams(recorded: str) -> None:
    if recorded == "mariadb":
        pytest.skip("streams are psycopg's")
    with scope() as entered, connection.cursor() as cursor:
        assert list(cursor.stream("SELECT 1")) == [(1,)]
        assert entered.wrote == set()
        assert list(cursor.stream("INSERT INTO numbers VALUES (7) RETURNING n")) == [(7,)]
        assert entered.wrote == {"default"}
    assert select() == [7]


def test_call__on_a_replica_counts_as_no_write(recorded: str) -> None:
    with scope() as entered, connections["copy"].cursor() as cursor:
        with pytest.raises(DatabaseError, match=r"(?i)read.only"):
            cursor.callproc("add_number", [7])
        assert entered.wrote == set()
