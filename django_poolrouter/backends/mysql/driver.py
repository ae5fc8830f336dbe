"""The driver of MySQL and MariaDB: mysqlclient."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import MySQLdb

from ...drivers.deadlines import Deadline
from ...drivers.driver import Driver
from ...drivers.facts import Limit, ServerFacts, ServerSession
from ...drivers.session import Session
from ...pooling import NoReset
from ...routing import Position
from ...routing.repeat import Fault
from . import replication
from .connection import RestorableConnection

# ER_OPTION_PREVENTS_STATEMENT (--read-only is such an option) and ER_READ_ONLY_MODE.
READ_ONLY = ((1290,), (1836,))
INSPECT = """
SELECT version(), concat_ws(' ', @@hostname, @@port, @@datadir),
       @@global.read_only OR @@global.innodb_read_only,
       @@wait_timeout, @@global.max_connections, @@max_user_connections
"""
BEHIND = "Seconds_Behind"
SESSIONS = """
SELECT id, command, time, state, left(info, 1000) FROM information_schema.processlist
"""
# These need privileges that an application seldom has.
TRANSACTIONS = """
SELECT trx_mysql_thread_id, timestampdiff(SECOND, trx_started, now())
  FROM information_schema.innodb_trx
"""
LAST_STATEMENTS = """
SELECT processlist_id, left(sql_text, 1000)
  FROM performance_schema.events_statements_current
  JOIN performance_schema.threads USING (thread_id)
 WHERE processlist_id IS NOT NULL AND sql_text IS NOT NULL
"""

# Client errors: no connection, gone away, lost during the query, lost at a read.  Server
# errors: the server shuts down, the connection was killed.
LOST = frozenset({0, 2002, 2003, 2006, 2013, 2055, 1053, 1927})


class MySQLDriver(Driver):
    """Works with mysqlclient."""

    tells_positions = True
    tells_session = True
    facts = ("isolation_level", "mysql_server_data")
    connect_timeout_option = "connect_timeout"

    def adopt(self, connection: Any, session: Session | None = None) -> None:
        RestorableConnection.adopt(connection, session)

    def fileno(self, connection: Any) -> int | None:
        return int(connection.fileno())

    def backend_id(self, connection: Any) -> int:
        return int(connection.thread_id())

    def ping(self, connection: Any, timeout: float) -> bool:
        """Send a statement that does nothing and wait for its answer.

        The driver's own ping() cannot be interrupted.  It would wait forever for a frozen
        server.
        """
        try:
            connection.send_query(b"DO 1")
            if not Deadline(connection.fileno(), timeout).wait():
                return False
            connection.read_query_result()
        except Exception:
            return False
        return True

    def inspect(self, connection: Any) -> ServerFacts:
        cursor = connection.cursor()
        cursor.execute(INSPECT)
        version, identity, read_only, idle_limit, of_server, of_account = cursor.fetchone()
        limits = [Limit("max_connections", of_server)]
        if of_account:
            limits.append(Limit("max_user_connections", of_account, "account"))
        upstream = _upstream(cursor)
        lag = next((v for n, v in (upstream or {}).items() if n.startswith(BEHIND)), None)
        # A replica whose replication is stopped may be up to date, but will not stay so.
        is_stopped = bool(upstream) and lag is None
        questions = replication.REPLAYED if upstream else replication.WRITTEN
        return ServerFacts(
            version,
            identity,
            read_only=bool(read_only),
            replicates=None if upstream is None else bool(upstream),
            position=None if is_stopped else _position_now(connection, questions),
            lag_s=lag,
            idle_limit_s=float(idle_limit),
            limits=tuple(limits),
        )

    @staticmethod
    def refused_write(error: BaseException) -> bool:
        return isinstance(error, MySQLdb.Error) and error.args[:1] in READ_ONLY

    def sessions(self, connection: Any) -> dict[int, ServerSession]:
        transactions = _pairs(connection, TRANSACTIONS)
        statements = _pairs(connection, LAST_STATEMENTS)
        cursor = connection.cursor()
        cursor.execute(SESSIONS)
        return {
            number: ServerSession(
                state=_state(command, number in transactions),
                state_age_s=float(age),
                transaction_age_s=transactions.get(number),
                waits_for=state or None,
                query=query or statements.get(number),
            )
            for number, command, age, state, query in cursor.fetchall()
        }

    def close_cursor(self, cursor: Any) -> None:
        """Close a cursor that has read all its rows.  Detach any other from its connection.

        Closing the other cursor would first read all its rows from the server, or fail.  So
        its rows stay unread.  Because of them, the reset fails and the pool closes the
        connection.
        """
        raw_cursor = getattr(cursor, "cursor", cursor)
        if getattr(raw_cursor.connection, "may_have_rows", False):
            raw_cursor.connection = None
        else:
            cursor.close()
        # Without this, fetchone() on the closed cursor raises a TypeError.
        raw_cursor._executed = None

    def written(self, connection: Any, timeout: float) -> Position | None:
        return self._position(connection, replication.WRITTEN, timeout)

    def replayed(self, connection: Any, timeout: float) -> Position | None:
        return self._position(connection, replication.REPLAYED, timeout)

    def _position(
        self, connection: Any, questions: replication.Questions, timeout: float
    ) -> Position | None:
        if getattr(connection, "may_have_rows", False):
            return None  # another caller reads a result row by row
        question = questions["MariaDB" in connection.get_server_info()]
        try:
            connection.send_query(question.sql)
            Deadline(connection.fileno(), timeout).require()
            connection.read_query_result()
            [row] = connection.store_result().fetch_row()
        except MySQLdb.Error as error:
            if self.diagnose(error, connection) != "lost":
                return None  # the server has no such variable
            connection.close()
            raise
        except BaseException:
            connection.close()
            raise
        return question.position(row)

    def diagnose(self, error: BaseException, connection: Any) -> Fault | None:
        code = error.args[0] if error.args else None
        return "lost" if code in LOST or not connection.open else None

    def rollback(self, connection: Any) -> None:
        autocommit = connection.get_autocommit()
        if not isinstance(connection, RestorableConnection):
            connection.rollback()
            connection.autocommit(True)
            return
        if connection.may_have_begun or connection.may_have_rows or not autocommit:
            self.require_socket(connection)
            connection.roll_back()
        if not autocommit:
            connection.autocommit(True)
        if connection.changed:
            connection.restore()

    def reset_session(self, connection: Any, parameters: Callable[[], dict[str, Any]]) -> None:
        """Log in again on the same connection.  This costs a tenth of a new connection."""
        login = parameters()
        if "user" not in login or not isinstance(connection, RestorableConnection):
            raise NoReset("the account is in an option file")
        connection.log_in(login)

    def forbid_writes(self, connection: Any) -> None:
        connection.query(b"SET SESSION TRANSACTION READ ONLY")
        connection.store_result()


def _pairs(connection: Any, sql: str) -> dict[int, Any]:
    """Return rows of two columns as a dict, {} if this account may not see them."""
    cursor = connection.cursor()
    try:
        cursor.execute(sql)
    except MySQLdb.Error:
        return {}
    return dict(cursor.fetchall())


def _upstream(cursor: Any) -> dict[str, Any] | None:
    """Return the server's status as a replica: {} on a primary, None without the privilege."""
    for sql in ("SHOW REPLICA STATUS", "SHOW SLAVE STATUS"):  # the latter on older servers
        with suppress(MySQLdb.Error):
            cursor.execute(sql)
            names = [column[0] for column in cursor.description]
            return dict(zip(names, cursor.fetchone() or (), strict=False))
    return None


def _position_now(connection: Any, questions: replication.Questions) -> Position | None:
    question = questions["MariaDB" in connection.get_server_info()]
    cursor = connection.cursor()
    try:
        cursor.execute(question.sql)
    except MySQLdb.Error:  # the server has no such variable
        return None
    return question.position(cursor.fetchone())


def _state(command: str, in_transaction: bool) -> str:
    if command == "Query":
        return "active"
    if command == "Sleep":
        return "idle in transaction" if in_transaction else "idle"
    return command.lower()
