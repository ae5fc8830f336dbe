"""PostgreSQL, pooled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db.backends.postgresql import base
from django.db.backends.postgresql.psycopg_any import is_psycopg3

from ..driver import Deadline, Driver, ServerFacts
from ..mixin import PooledDatabaseWrapper

if is_psycopg3:
    from .watched import WatchedConnection

# libpq's PQTRANS_*; psycopg's enumeration compares three times slower.
IDLE, ACTIVE, INTRANS, INERROR = range(4)

READ_ONLY = "25006"  # SQLSTATE read_only_sql_transaction

INSPECT = """
SELECT current_setting('server_version'),
       pg_is_in_recovery(),
       pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                            ELSE pg_current_wal_insert_lsn() END, '0/0')::bigint,
       extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float,
       current_setting('max_connections')::int
         - current_setting('superuser_reserved_connections')::int
         - coalesce(current_setting('reserved_connections', true), '0')::int
"""


class PsycopgDriver(Driver):
    """psycopg 3, which knows the state of its transaction without asking the server."""

    def adopt(self, connection: Any) -> None:
        WatchedConnection.adopt(connection)

    def fileno(self, connection: Any) -> int | None:
        return int(connection.fileno())

    def backend_id(self, connection: Any) -> int:
        return int(connection.pgconn.backend_pid)

    def ping(self, connection: Any, timeout: float) -> bool:
        """Send an empty query and wait for its answer, no longer than ``timeout``."""
        pgconn = connection.pgconn
        try:
            deadline = Deadline(pgconn.socket, timeout)
            pgconn.send_query(b"")
            while pgconn.flush():
                if not deadline.wait(write=True):
                    return False
            while True:
                while pgconn.is_busy():
                    if not deadline.wait():
                        return False
                    pgconn.consume_input()
                if pgconn.get_result() is None:
                    break
        except Exception:
            return False
        return bool(pgconn.transaction_status == IDLE)

    def inspect(self, connection: Any) -> ServerFacts:
        return ServerFacts(*connection.execute(INSPECT, prepare=False).fetchone())

    @staticmethod
    def refused_write(error: BaseException) -> bool:
        return getattr(error, "sqlstate", None) == READ_ONLY

    def rollback(self, connection: Any) -> None:
        status = connection.pgconn.transaction_status
        if status != IDLE:
            if status not in (INTRANS, INERROR):
                raise RuntimeError("the connection is busy or broken")
            connection.rollback()
        if not connection.autocommit:
            connection.autocommit = True
        if getattr(connection, "changed", False):
            connection.restore()

    def reset_session(self, connection: Any, parameters: Callable[[], dict[str, Any]]) -> None:
        # Not prepared: it would deallocate itself, and fail when it is run next.
        connection.execute("DISCARD ALL", prepare=False)
        # psycopg sees that it discards only while it counts the statement for the first time.
        prepared = connection._prepared
        vars(prepared).update(vars(type(prepared)()))
        for _ in connection.notifies(timeout=0):
            pass


class DatabaseWrapper(PooledDatabaseWrapper, base.DatabaseWrapper):
    """Django's PostgreSQL backend with our pool instead of psycopg_pool's."""

    driver_class = PsycopgDriver if is_psycopg3 else Driver
    parameters_are_facts = True
    pool_facts = ("isolation_level", "pg_version")
    connect_timeout_option = "connect_timeout"
    # Django's own pool, which reads the same option.
    pool = None
