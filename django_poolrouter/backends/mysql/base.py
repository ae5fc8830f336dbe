"""MySQL and MariaDB, pooled."""

from __future__ import annotations

from typing import Any

import MySQLdb  # type: ignore[import-untyped]
from django.db.backends.mysql import base

from ..driver import Deadline, Driver, ServerFacts
from ..mixin import PooledDatabaseWrapper


class MySQLDriver(Driver):
    """mysqlclient."""

    def fileno(self, connection: Any) -> int | None:
        return int(connection.fileno())

    def backend_id(self, connection: Any) -> int:
        return int(connection.thread_id())

    def ping(self, connection: Any, timeout: float) -> bool:
        """Send a statement that does nothing and wait for its answer.

        The driver's own ping() cannot be interrupted: before a frozen server it waits
        for ever.
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
        cursor.execute("SELECT VERSION(), @@global.read_only, @@global.max_connections")
        version, read_only, limit = cursor.fetchone()
        try:
            cursor.execute("SHOW SLAVE STATUS")
            names = [column[0] for column in cursor.description]
            row = cursor.fetchone()
            lag = dict(zip(names, row, strict=True))["Seconds_Behind_Master"] if row else None
        except MySQLdb.Error:  # needs a privilege, and has another name on MySQL 8.4
            lag = None
        return ServerFacts(version, bool(read_only), lag_s=lag, max_connections=limit)

    def rollback(self, connection: Any) -> None:
        # The driver knows about autocommit but not about a BEGIN that somebody executed.
        connection.rollback()
        if not connection.get_autocommit():
            connection.autocommit(True)


class DatabaseWrapper(PooledDatabaseWrapper, base.DatabaseWrapper):
    """Django's MySQL backend with a pool."""

    driver_class = MySQLDriver
    parameters_are_facts = True
    pool_facts = ("isolation_level", "mysql_server_data")
    connect_timeout_option = "connect_timeout"
