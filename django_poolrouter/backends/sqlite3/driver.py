"""The driver of SQLite: the standard library's sqlite3."""

from __future__ import annotations

import sqlite3
from typing import Any

from ...drivers.driver import Driver
from ...drivers.facts import ServerFacts
from ...drivers.session import Session
from .connection import RestorableConnection


class SQLiteDriver(Driver):
    """Works with the standard library's sqlite3."""

    has_server = False
    tells_session = True
    facts = ("transaction_mode", "init_commands")
    parameters = {"factory": RestorableConnection}

    def adopt(self, connection: Any, session: Session | None = None) -> None:
        # The class of an open connection of sqlite3 cannot change.
        if isinstance(connection, RestorableConnection):
            RestorableConnection.adopt(connection, session)

    def ping(self, connection: Any, timeout: float) -> bool:
        if getattr(connection, "is_outdated", False):
            return False
        try:
            connection.execute("SELECT 1").fetchone()
        except sqlite3.Error:
            return False
        return True

    def inspect(self, connection: Any) -> ServerFacts:
        return ServerFacts(sqlite3.sqlite_version)

    def rollback(self, connection: Any) -> None:
        if connection.in_transaction:
            connection.rollback()
        if connection.isolation_level is not None:
            connection.isolation_level = None
        if getattr(connection, "changed", False):
            connection.restore()
        if getattr(connection, "is_outdated", False):
            raise RuntimeError("the database file was deleted or replaced")

    def forbid_writes(self, connection: Any) -> None:
        connection.execute("PRAGMA query_only = ON")
