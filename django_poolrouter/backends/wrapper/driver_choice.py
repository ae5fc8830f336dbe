"""Finds the driver of a backend that names none, by its DB-API module."""

from __future__ import annotations

from typing import Any

from django.utils.module_loading import import_string

from ...drivers.driver import Driver

# The package of a backend's ``Database`` -> the driver.  Paths, so that only the driver in use is
# imported.  Not by the class of a connection: tracing tools replace that.
DRIVERS = {
    "psycopg": "django_poolrouter.backends.postgresql.driver.PsycopgDriver",
    "MySQLdb": "django_poolrouter.backends.mysql.driver.MySQLDriver",
    "sqlite3": "django_poolrouter.backends.sqlite3.driver.SQLiteDriver",
    # These have no driver of their own yet.
    "psycopg2": "django_poolrouter.drivers.driver.Driver",
    "oracledb": "django_poolrouter.drivers.driver.Driver",
    "pyodbc": "django_poolrouter.drivers.driver.Driver",
}


def driver_for(database: Any) -> type[Driver]:
    """Return the driver for a DB-API module; one that any module can do with if it is unknown."""
    package = str(getattr(database, "__name__", "")).partition(".")[0]
    found: type[Driver] = import_string(DRIVERS[package]) if package in DRIVERS else Driver
    return found
