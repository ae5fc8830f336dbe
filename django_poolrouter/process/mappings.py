"""The pools and clusters of this process as user code sees them: mappings without state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from django.db import connections

from .. import conf
from ..errors import ReplicaUnavailable
from ..routing import Cluster, NoReplica
from .database_pool import DatabasePool
from .registry import registry

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


class MultiDatabasePool(Mapping[str, DatabasePool]):
    """The pools of all configured databases, by alias."""

    def __getitem__(self, alias: str) -> DatabasePool:
        if alias not in conf.databases():
            raise KeyError(f"Database {alias!r} not configured")
        wrapper = connections[alias]
        pool: DatabasePool | None = getattr(wrapper, "database_pool", None)
        return pool or DatabasePool(alias, wrapper.vendor, pools_of=registry.all_pools)

    def __iter__(self) -> Iterator[str]:
        return iter(conf.databases())

    def __len__(self) -> int:
        return len(conf.databases())

    def get(self, alias: str, default: Any = None) -> DatabasePool:
        """Return the pool of an alias.

        Raises:
            KeyError: the alias is not configured.  ``default`` is ignored, because it would
                hide a misspelt name.

        """
        return self[alias]

    def session(self, alias: str) -> AbstractContextManager[BaseDatabaseWrapper]:
        """Run a block in a transaction on the alias (see ``DatabasePool.session``)."""
        return self[alias].session()

    def dispose_all(self) -> None:
        """Dispose of every pool of this process."""
        registry.dispose_all()


class ReadWritePool:
    """The pools of one cluster, with sessions for writes and sessions for reads."""

    def __init__(self, cluster: Cluster) -> None:
        """Make the view of ``cluster``."""
        self._cluster = cluster

    def __repr__(self) -> str:
        return f"<ReadWritePool {self._cluster!r}>"

    def write_session(self) -> AbstractContextManager[BaseDatabaseWrapper]:
        """Run a block in a transaction on the primary."""
        return pools.session(self._cluster.primary)

    def read_session(self) -> AbstractContextManager[BaseDatabaseWrapper]:
        """Run a block in a transaction on the next replica in turn, or on the primary."""
        try:
            alias = self._cluster.take_turn()
        except NoReplica as error:
            raise ReplicaUnavailable(str(error)) from None
        return pools.session(alias)

    def dispose(self) -> None:
        """Dispose of the pools of the primary and the replicas."""
        for alias in self._cluster.aliases:
            registry.dispose(alias)


class Clusters(Mapping[str, ReadWritePool]):
    """The clusters, by their primary's alias."""

    def __getitem__(self, primary: str) -> ReadWritePool:
        try:
            return ReadWritePool(registry.topology.clusters[primary])
        except KeyError:
            raise KeyError(f"No cluster has {primary!r} as its primary") from None

    def __iter__(self) -> Iterator[str]:
        return iter(registry.topology.clusters)

    def __len__(self) -> int:
        return len(registry.topology.clusters)


pools = MultiDatabasePool()
clusters = Clusters()
