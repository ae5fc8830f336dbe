"""Points Django at other databases for one test, and proves that nothing of it is left."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from asgiref.local import Local
from django.db import connections
from django.test import override_settings

from django_poolrouter import conf
from django_poolrouter.apps import mirror_replicas, watch_other_engines
from django_poolrouter.process.registry import registry

ENGINES = {
    "sqlite": "django_poolrouter.backends.sqlite3",
    "postgresql": "django_poolrouter.backends.postgresql",
    "mariadb": "django_poolrouter.backends.mysql",
}
ROUTERS = ["django_poolrouter.router.PoolRouter"]


@contextmanager
def configured(databases: Mapping[str, dict[str, Any]], **settings: Any) -> Iterator[None]:
    """Run a block with these DATABASES and settings; afterwards every lease must be home."""
    settings = {"POOLROUTER": {}, "DATABASE_ROUTERS": ROUTERS, **settings}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Overriding setting DATABASES", UserWarning)
        override = override_settings(DATABASES=dict(databases), **settings)
        override.enable()
    before = dict(vars(connections))
    vars(connections).pop("settings", None)
    connections._settings = None
    connections._connections = Local(connections.thread_critical)
    conf.forget(setting="DATABASES")
    registry.housekeeper.stop()
    registry.monitor.stop()
    registry.first_turn = int  # 0: who is read first is known
    registry._start()
    mirror_replicas()
    watch_other_engines()
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
        vars(connections).clear()
        vars(connections).update(before)
        override.disable()
        conf.forget(setting="DATABASES")
        watch_other_engines()
        registry._start()


def assert_all_home() -> None:
    """Assert that no lease is out and nobody waits, in any pool."""
    for pool in registry.all_pools():
        status = pool.status()
        assert (status.checkedout, status.waiting, status.opening) == (0, 0, 0), pool
