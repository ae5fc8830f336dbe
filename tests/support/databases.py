"""Points Django at other databases for one test, and proves that nothing of it is left."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from asgiref.local import Local
from django.db import connections
from django.test import override_settings

from django_poolrouter import conf
from django_poolrouter.apps import join_django, mirror_replicas
from django_poolrouter.process.registry import registry
from tests.support.waiting import LIMIT

ENGINES = {
    "sqlite": "django_poolrouter.backends.sqlite3",
    "postgresql": "django_poolrouter.backends.postgresql",
    "mariadb": "django_poolrouter.backends.mysql",
}
ROUTERS = ["django_poolrouter.router.PoolRouter"]
#: How the names of the package's threads begin.
THREADS = "poolrouter-"


@contextmanager
def configured(databases: Mapping[str, dict[str, Any]], **settings: Any) -> Iterator[None]:
    """Run a block with these DATABASES and settings.

    Afterwards every lease must be home, and no thread of the package may live on.
    """
    settings = {"POOLROUTER": {}, "DATABASE_ROUTERS": ROUTERS, **settings}
    try:
        with _pointing_django_at(databases, settings):
            start_over()
            try:
                yield
                connections.close_all()
                registry.monitor.stop(10)
                assert_all_home()
            finally:
                connections.close_all()
                registry.monitor.stop()
                registry.dispose_all()
                registry.housekeeper.stop()
    finally:
        start_over()
    assert_no_threads()


def start_over() -> None:
    """Make the package forget pools, clusters and settings, as if the process had just started.

    Replicas take turns from the first one on, so that a test knows which is read first.
    """
    registry.housekeeper.stop()
    registry.monitor.stop()
    registry.first_turn = int
    registry._start()
    conf.forget(setting="DATABASES")
    mirror_replicas()
    join_django()


def assert_all_home() -> None:
    """Assert that no lease is out and that no caller waits, in any pool."""
    for pool in registry.all_pools():
        status = pool.status()
        assert (status.checkedout, status.waiting, status.opening) == (0, 0, 0), pool


def assert_no_threads(limit: float = LIMIT) -> None:
    """Assert that the package's threads end; one may be in a call that has a time limit."""
    for thread in threading.enumerate():
        if thread.name.startswith(THREADS):
            thread.join(limit)
            assert not thread.is_alive(), f"{thread.name} lives on"


@contextmanager
def _pointing_django_at(
    databases: Mapping[str, dict[str, Any]], settings: dict[str, Any]
) -> Iterator[None]:
    """Override settings; Django reads DATABASES once, so forget what it has read."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Overriding setting DATABASES", UserWarning)
        override = override_settings(DATABASES=dict(databases), **settings)
        override.enable()
    before = dict(vars(connections))
    vars(connections).pop("settings", None)
    connections._settings = None
    connections._connections = Local(connections.thread_critical)
    try:
        yield
    finally:
        vars(connections).clear()
        vars(connections).update(before)
        override.disable()
