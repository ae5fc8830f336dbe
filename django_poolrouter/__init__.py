"""Pooled database connections and read/write routing for Django.

The public names are resolved on first use.  Django imports the package before its settings
are ready, so the import must load nothing else.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import PoolClosed, PoolError, PoolExhausted, PoolTimeout, ReplicaUnavailable
    from .pooling import PoolConfig, PoolProfile, PoolStatus
    from .process.database_pool import DatabasePool
    from .process.health import PoolHealth, PoolHealthMonitor
    from .process.mappings import MultiDatabasePool, ReadWritePool, clusters, pools
    from .process.shutdown import PoolManager
    from .router import routed, using_primary, using_replica
    from .routing import carry_scope, scope

__all__ = [
    "DatabasePool",
    "MultiDatabasePool",
    "PoolClosed",
    "PoolConfig",
    "PoolError",
    "PoolExhausted",
    "PoolHealth",
    "PoolHealthMonitor",
    "PoolManager",
    "PoolProfile",
    "PoolStatus",
    "PoolTimeout",
    "ReadWritePool",
    "ReplicaUnavailable",
    "carry_scope",
    "clusters",
    "pools",
    "routed",
    "scope",
    "using_primary",
    "using_replica",
]

_HOMES = {
    "process.database_pool": ("DatabasePool",),
    "errors": ("PoolClosed", "PoolError", "PoolExhausted", "PoolTimeout", "ReplicaUnavailable"),
    "process.health": ("PoolHealth", "PoolHealthMonitor"),
    "process.shutdown": ("PoolManager",),
    "process.mappings": ("MultiDatabasePool", "ReadWritePool", "clusters", "pools"),
    "pooling": ("PoolConfig", "PoolProfile", "PoolStatus"),
    "router": ("routed", "using_primary", "using_replica"),
    "routing": ("carry_scope", "scope"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Not cached in globals(): a submodule of the same name would replace it anyway.
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
