"""Completes each class that is made with the mixin, so that two lines are a whole backend."""

from __future__ import annotations

from functools import wraps
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.module_loading import import_string

from ...drivers.driver import Driver
from ...process.registry import registry
from .creation import PooledCreation
from .cursors import PooledSchemaEditor
from .state import WrapperState

# The package of a backend's ``Database`` -> its driver.  Paths, so that only the driver in use is
# imported.  The class of a connection would not do: tracing tools replace it.
DRIVERS = {
    "psycopg": "django_poolrouter.backends.postgresql.driver.PsycopgDriver",
    "MySQLdb": "django_poolrouter.backends.mysql.driver.MySQLDriver",
    "sqlite3": "django_poolrouter.backends.sqlite3.driver.SQLiteDriver",
    # These have no driver of their own yet.
    "psycopg2": "django_poolrouter.drivers.driver.Driver",
    "oracledb": "django_poolrouter.drivers.driver.Driver",
    "pyodbc": "django_poolrouter.drivers.driver.Driver",
}


def complete(wrapper: Any) -> None:
    """Give a new subclass of the mixin its driver, and pooled versions of its other parts.

    Raises:
        ImproperlyConfigured: the mixin stands behind Django's class.

    """
    if BaseDatabaseWrapper in wrapper.__mro__ and wrapper.connect is BaseDatabaseWrapper.connect:
        raise ImproperlyConfigured(
            f"{wrapper.__module__}.{wrapper.__qualname__}: name PooledDatabaseWrapper first among "
            "its bases. Behind Django's class it changes nothing."
        )
    if hasattr(wrapper, "Database") and not _names_driver(wrapper):
        wrapper.driver_class = driver_for(wrapper.Database)
    for name, ours in (
        ("creation_class", PooledCreation),
        ("SchemaEditorClass", PooledSchemaEditor),
    ):
        stock = getattr(wrapper, name)
        if stock is not None and not issubclass(stock, ours):
            setattr(wrapper, name, type(stock.__name__, (ours, stock), {}))
    if hasattr(wrapper, "register_geometry_adapters"):
        wrapper.register_geometry_adapters = _replacing_all(wrapper.register_geometry_adapters)


def _names_driver(wrapper: type) -> bool:
    kinds = (kind for kind in wrapper.__mro__ if kind is not WrapperState)
    return any("driver_class" in vars(kind) for kind in kinds)


def driver_for(database: Any) -> type[Driver]:
    """Return the driver for a DB-API module.  For an unknown module, it is the generic one."""
    package = str(getattr(database, "__name__", "")).partition(".")[0]
    found: type[Driver] = import_string(DRIVERS[package]) if package in DRIVERS else Driver
    return found


def _replacing_all(register: Any) -> Any:
    """Return PostGIS's method that registers types; ours also replaces all connections.

    With ``clear_caches`` the types are new, because a migration created the extension.  The other
    connections of the pool do not know them.
    """
    if hasattr(register, "replaces_all"):
        return register

    @wraps(register)
    def register_geometry_adapters(
        self: Any, pg_connection: Any, clear_caches: bool = False
    ) -> None:
        register(self, pg_connection, clear_caches)
        if clear_caches:
            registry.clear(self.alias)

    register_geometry_adapters.replaces_all = True  # type: ignore[attr-defined]
    return register_geometry_adapters
