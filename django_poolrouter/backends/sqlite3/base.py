"""SQLite, pooled, which saves opening the file and defining Django's functions each time."""

from __future__ import annotations

from django.db.backends.sqlite3 import base

from ..mixin import PooledDatabaseWrapper
from .driver import SQLiteDriver

__all__ = ["DatabaseWrapper", "SQLiteDriver"]


class DatabaseWrapper(PooledDatabaseWrapper, base.DatabaseWrapper):
    """Django's SQLite backend with a pool for databases in files."""

    driver_class = SQLiteDriver
    parameters_are_facts = True
