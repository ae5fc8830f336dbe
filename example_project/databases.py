"""Entries of `settings.DATABASES` for the vendor that the environment variable DB names."""

import os
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

VENDOR = os.environ.get("DB", "sqlite")
VENDORS = ("sqlite", "postgresql", "mysql")
if VENDOR not in VENDORS:
    raise ImproperlyConfigured(f"DB={VENDOR}: choose one of {', '.join(VENDORS)}.")

DEFAULT_PORTS = {"postgresql": "5432", "mysql": "3306"}
DEFAULT_USERS = {"postgresql": "postgres", "mysql": "root"}


def database(alias: str, name: str, *, router: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the entry of one alias; `name` is the database that it shares with its cluster."""
    if VENDOR == "sqlite":
        entry = _sqlite(name, read_only=router is not None and "REPLICA_OF" in router)
    else:
        entry = _server(alias, name)
    entry["OPTIONS"]["pool"] = _pool()
    return entry if router is None else entry | {"ROUTER": router}


def _pool() -> dict[str, Any]:
    """Return the profile that POOL_PROFILE names; POOL_SIZE overrides its size."""
    pool: dict[str, Any] = {"profile": os.environ.get("POOL_PROFILE", "production")}
    if size := os.environ.get("POOL_SIZE"):
        pool["pool_size"] = int(size)
    return pool


def _sqlite(name: str, *, read_only: bool) -> dict[str, Any]:
    """Return a file in DB_DIR. "Replicas" are the same file, opened so that it refuses writes."""
    path = Path(os.environ.get("DB_DIR", Path(__file__).parent)).absolute() / f"{name}.sqlite3"
    options: dict[str, Any] = {"timeout": 20}
    if not read_only:
        # Readers and a writer do not block each other. The file remembers this mode.
        options["init_command"] = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL"
        # A transaction that begins as a reader would fail, not wait, when it wants to write.
        options["transaction_mode"] = "IMMEDIATE"
    return {
        "ENGINE": "django_poolrouter.backends.sqlite3",
        "NAME": f"{path.as_uri()}?mode=ro" if read_only else path,
        "OPTIONS": options,
    }


def _server(alias: str, name: str) -> dict[str, Any]:
    """Return a server's entry: DB_REPLICA1_HOST speaks for one alias, DB_HOST for all."""

    def setting(key: str, default: str) -> str:
        everywhere = os.environ.get(f"DB_{key}", default)
        return os.environ.get(f"DB_{alias.upper()}_{key}", everywhere)

    return {
        "ENGINE": f"django_poolrouter.backends.{VENDOR}",
        "HOST": setting("HOST", "127.0.0.1"),
        "PORT": setting("PORT", DEFAULT_PORTS[VENDOR]),
        "USER": setting("USER", DEFAULT_USERS[VENDOR]),
        "PASSWORD": setting("PASSWORD", ""),
        "NAME": os.environ.get(f"DB_{alias.upper()}_NAME", name),
        "OPTIONS": {},
    }
