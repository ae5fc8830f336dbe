"""Reads routers, middleware, sessions and workers from a project's other settings."""

from __future__ import annotations

from django.conf import settings
from django.db import router
from django.utils.module_loading import import_string

# Kinds of Celery workers whose tasks run side by side in one process.
THREAD_POOLS = ("threads", "gevent", "eventlet")
_SESSIONS_IN_DATABASE = tuple(f"django.contrib.sessions.backends.{e}" for e in ("db", "cached_db"))


def uses_router(path: str) -> bool:
    """Tell whether DATABASE_ROUTERS has the router of that dotted path, or a subclass."""
    return any(isinstance(used, import_string(path)) for used in router.routers)


def routers_before(path: str) -> list[str]:
    """Return the routers that choose databases and come before the one of that path."""
    ours = import_string(path)
    found: list[str] = []
    for used in router.routers:
        if isinstance(used, ours):
            return found
        if hasattr(used, "db_for_read") or hasattr(used, "db_for_write"):
            found.append(f"{type(used).__module__}.{type(used).__qualname__}")
    return []


def uses_middleware(path: str) -> bool:
    """Tell whether MIDDLEWARE has that dotted path, or a subclass."""
    return bool(middleware_places(path))


def sessions_in_database() -> bool:
    """Tell whether the project keeps sessions in the database, with an engine of Django."""
    return settings.SESSION_ENGINE in _SESSIONS_IN_DATABASE and any(
        used.rpartition(".")[2] == "SessionMiddleware" for used in settings.MIDDLEWARE or ()
    )


def middleware_places(path: str) -> list[int]:
    """Return the indexes in MIDDLEWARE of that dotted path and of its subclasses."""
    used = settings.MIDDLEWARE or ()
    return [n for n, one in enumerate(used) if one == path or _is_subclass(one, path)]


def declared_threads() -> dict[str, int]:
    """Return the number of threads that the settings give each process, by setting."""
    concurrency = getattr(settings, "CELERY_WORKER_CONCURRENCY", None)
    shares_process = getattr(settings, "CELERY_WORKER_POOL", None) in THREAD_POOLS
    if isinstance(concurrency, int) and shares_process:
        return {"CELERY_WORKER_CONCURRENCY": concurrency}
    return {}


def _is_subclass(path: str, of: str) -> bool:
    try:
        found = import_string(path)
    except ImportError:  # Django reports it
        return False
    return isinstance(found, type) and issubclass(found, import_string(of))
