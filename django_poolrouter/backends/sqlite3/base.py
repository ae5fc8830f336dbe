"""SQLite, pooled, which saves opening the file and defining Django's functions each time."""

from __future__ import annotations

import sqlite3
from typing import Any

from django.db.backends.sqlite3 import base

from ...drivers.driver import Driver
from ...drivers.facts import ServerFacts
from ..mixin import PooledDatabaseWrapper
from .connection import RestorableConnection


class SQLiteDriver(Driver):
    """Works with the standard library's sqlite3."""

    has_server = False

    def adopt(self, connection: Any) -> None:
        if isinstance(connection, RestorableConnection):
            connection.note_file()
            connection.remember()

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


class DatabaseWrapper(PooledDatabaseWrapper, base.DatabaseWrapper):
    """Django's SQLite backend with a pool for databases in files."""

    driver_class = SQLiteDriver
    parameters_are_facts = True
    pool_facts = ("transaction_mode", "init_commands")
    pool_parameters = {"factory": RestorableConnection}

    def can_be_pooled(self) -> bool:
        # An in-memory database is gone when its connection closes.
        return super().can_be_pooled() and not self.is_in_memory_db()

    def may_begin_late(self) -> bool:
        # Other modes lock the database as soon as the block is entered.
        return self.settings_dict["OPTIONS"].get("transaction_mode") in (None, "DEFERRED")
