"""The driver of PostgreSQL: psycopg 3."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from psycopg import Error, ServerCursor

from ...drivers.deadlines import Deadline
from ...drivers.driver import Driver
from ...drivers.facts import Limit, ServerFacts, ServerSession
from ...drivers.session import Reported, Session, watched
from ...routing import Position
from ...routing.repeat import Fault
from ...sql.marks import Mark
from . import replication
from .connection import RestorableConnection

# libpq's PQTRANS_*.  Comparisons with psycopg's enumeration take three times as long.
IDLE, ACTIVE, INTRANS, INERROR = range(4)

# Settings whose changes the server reports at once.  Older servers report fewer of them.
REPORTED = (
    *(b"TimeZone", b"DateStyle", b"IntervalStyle", b"client_encoding"),
    *(b"default_transaction_read_only", b"session_authorization", b"standard_conforming_strings"),
)

READ_ONLY = "25006"  # SQLSTATE read_only_sql_transaction

INSPECT = """
SELECT current_setting('server_version'),
       current_setting('port') || ' ' || pg_postmaster_start_time(),
       pg_is_in_recovery() OR
         (SELECT reset_val::bool FROM pg_settings WHERE name = 'default_transaction_read_only'),
       pg_is_in_recovery(),
       extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float,
       (SELECT nullif(setting::float, 0) / 1000 FROM pg_settings
         WHERE name = 'idle_session_timeout')
"""
# -1 means no limit.  No limit applies to superusers.
LIMITS = """
SELECT 'max_connections less reserved',
       current_setting('max_connections')::int
         - current_setting('superuser_reserved_connections')::int
         - coalesce(current_setting('reserved_connections', true), '0')::int,
       'server'
UNION ALL
SELECT 'CONNECTION LIMIT of role ' || rolname, rolconnlimit, 'account'
  FROM pg_roles WHERE rolname = session_user AND NOT rolsuper
UNION ALL
SELECT 'CONNECTION LIMIT of database ' || datname, datconnlimit, 'database'
  FROM pg_database WHERE datname = current_database()
"""
SESSIONS = """
SELECT pid, state,
       extract(epoch FROM clock_timestamp() - state_change)::float,
       extract(epoch FROM clock_timestamp() - xact_start)::float,
       wait_event_type || ': ' || wait_event,
       nullif(left(query, 1000), '<insufficient privilege>')
  FROM pg_stat_activity
 WHERE coalesce(backend_type, 'hidden') IN ('client backend', 'hidden')
"""


class PsycopgDriver(Driver):
    """Works with psycopg 3, which knows its transaction's state without asking the server."""

    tells_positions = True
    tells_session = True
    facts = ("isolation_level", "pg_version")
    connect_timeout_option = "connect_timeout"

    def adopt(self, connection: Any, session: Session | None = None) -> None:
        RestorableConnection.adopt(connection, session)

    def watch_cursor(self, cursor: Any) -> None:
        # Django makes most of them itself, past the connection and its factories.
        kind: Any = type(cursor)
        if issubclass(kind, ServerCursor) and getattr(cursor.connection, "session", None):
            cursor.__class__ = watched(kind)

    def fileno(self, connection: Any) -> int | None:
        return int(connection.fileno())

    def backend_id(self, connection: Any) -> int:
        return int(connection.pgconn.backend_pid)

    def ping(self, connection: Any, timeout: float) -> bool:
        """Send an empty query and wait for its answer, no longer than ``timeout``."""
        try:
            self._exchange(connection.pgconn, b"", timeout)
        except Exception:
            return False
        return bool(connection.pgconn.transaction_status == IDLE)

    def _exchange(self, pgconn: Any, query: bytes, timeout: float) -> list[Any]:
        """Send a query and return its results.

        Raises:
            TimeoutError: the server did not answer within ``timeout`` seconds.
            Exception: the driver failed to send or to read.

        """
        deadline = Deadline(pgconn.socket, timeout)
        pgconn.send_query(query)
        while pgconn.flush():
            deadline.require(write=True)
        results: list[Any] = []
        while True:
            while pgconn.is_busy():
                deadline.require()
                pgconn.consume_input()
            result = pgconn.get_result()
            if result is None:
                return results
            results.append(result)

    def inspect(self, connection: Any) -> ServerFacts:
        facts = connection.execute(INSPECT, prepare=False).fetchone()
        version, identity, read_only, replicates, age, idle_limit = facts
        rows = connection.execute(LIMITS, prepare=False).fetchall()
        return ServerFacts(
            version,
            identity,
            read_only=read_only,
            replicates=replicates,
            position=self._position_now(connection, of_replica=replicates),
            replayed_age_s=age,
            idle_limit_s=idle_limit,
            limits=tuple(Limit(*row) for row in rows if row[1] >= 0),
        )

    def _position_now(self, connection: Any, *, of_replica: bool) -> Position | None:
        try:
            row = connection.execute(replication.POSITION, prepare=False).fetchone()
        except Error:  # some managed servers forbid the query
            return None
        return replication.position(row, of_replica=of_replica)

    @staticmethod
    def refused_write(error: BaseException) -> bool:
        return getattr(error, "sqlstate", None) == READ_ONLY

    def sessions(self, connection: Any) -> dict[int, ServerSession]:
        rows = connection.execute(SESSIONS, prepare=False).fetchall()
        # A session without a state belongs to another role, and ours is not in pg_monitor.
        return {pid: ServerSession(state or "hidden", *rest) for pid, state, *rest in rows}

    def written(self, connection: Any, timeout: float) -> Position | None:
        return self._position(connection, timeout, of_replica=False)

    def replayed(self, connection: Any, timeout: float) -> Position | None:
        return self._position(connection, timeout, of_replica=True)

    def _position(self, connection: Any, timeout: float, *, of_replica: bool) -> Position | None:
        pgconn = connection.pgconn
        if pgconn.transaction_status != IDLE or pgconn.pipeline_status:
            return None  # another caller is using the connection
        try:
            [result] = self._exchange(pgconn, replication.POSITION, timeout)
            if pgconn.transaction_status != IDLE:
                raise RuntimeError("the connection is busy or broken")
        except BaseException:
            connection.close()
            raise
        if not result.ntuples:  # some managed servers forbid the query
            return None
        row = [result.get_value(0, column) for column in range(result.nfields)]
        return replication.position(row, of_replica=of_replica)

    def diagnose(self, error: BaseException, connection: Any) -> Fault | None:
        state = getattr(error, "sqlstate", None) or ""
        if state.startswith("40"):
            return "conflict"
        return "lost" if connection.closed else None

    def rollback(self, connection: Any) -> None:
        status = connection.pgconn.transaction_status
        if status != IDLE:
            if status not in (INTRANS, INERROR):
                raise RuntimeError("the connection is busy or broken")
            self.require_socket(connection)
            connection.rollback()
        if not connection.autocommit:
            connection.autocommit = True
        if getattr(connection, "changed", False):
            connection.restore()

    def is_marked(self, connection: Any) -> bool:
        if super().is_marked(connection):
            return True
        try:
            return bool(self.reported(connection) != connection.session.reported)
        except Error:  # the connection is closed, and has no settings
            return False

    def end_lease(self, connection: Any) -> Mark | None:
        mark = super().end_lease(connection)
        if mark is None and self.reported(connection) != connection.session.reported:
            # A function changed it, or libpq was used past psycopg.
            return Mark("setting")
        return mark

    def reported(self, connection: Any) -> Reported:
        return tuple(map(connection.pgconn.parameter_status, REPORTED))

    def reset_settings(self, connection: Any, names: Iterable[str]) -> None:
        for name in names:
            connection.execute(f"RESET {name}", prepare=False)

    def reset_session(self, connection: Any, parameters: Callable[[], dict[str, Any]]) -> None:
        # Prepared, the statement would deallocate itself, and its next run would fail.
        connection.execute("DISCARD ALL", prepare=False)
        # psycopg notices the DISCARD only when it counts this statement for the first time.  So
        # forget its prepared statements here.
        prepared = connection._prepared
        vars(prepared).update(vars(type(prepared)()))
        for _ in connection.notifies(timeout=0):
            pass

    def forbid_writes(self, connection: Any) -> None:
        connection.execute("SET default_transaction_read_only = on", prepare=False)
