"""The pools and clusters of this process: made on first use, renewed after a fork.

This is the only place that keeps state for the whole process.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from random import randrange
from typing import Any, Protocol

from django.db import connections

from .. import conf, signals
from ..pooling import Housekeeper, Page, PoolConfig
from ..routing import Cluster, ClusterConfig, Monitor, State, Surroundings, Topology
from ..validation import ConfigError
from .database_pool import DatabasePool, ServerConnector
from .replication_logs import PooledServers
from .shutdown import PoolManager, close_all

# The settings that make a pool, besides the ``identity_settings`` of the backend's class: those of
# Django that reach the server, and our mark of a test mirror, whose sessions take writes.
IDENTITY = ("ENGINE", "NAME", "USER", "HOST", "PORT", "OPTIONS", "TIME_ZONE", conf.TEST_MIRROR)
# Reaches the server too, but is rotated while the database stays the same.
ROTATED = "PASSWORD"

Settings = dict[str, Any]
Identity = tuple[Any, ...]


class Poolable(Protocol):
    """A database wrapper that can be pooled; it makes the connector of its pool."""

    alias: str
    vendor: str
    settings_dict: Settings
    identity_settings: tuple[str, ...]

    def can_be_pooled(self, settings: Settings) -> bool:
        """Tell whether its database can be pooled; Django's no-database connection cannot.

        Args:
            settings: a copy of ``settings_dict``, which another thread may change.

        """

    def make_connector(self, settings: Settings, config: PoolConfig) -> ServerConnector:
        """Return the connector for this wrapper's pool."""


class Handle:
    """A wrapper's reference to its pool, valid while its settings and the process are the same.

    Args:
        settings: a copy of those that the pool was found by.
        keys: of the settings that may not change.  Others do: packages for tenants write the
            tenant of the moment into them.
        pool: None if the settings ask for no pool.

    """

    __slots__ = ("_keys", "_pid", "_settings", "_values", "pool")

    def __init__(
        self, settings: Settings, keys: tuple[str, ...], pool: DatabasePool | None
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._values = tuple(map(settings.get, keys))
        self._pid = os.getpid()
        self.pool = pool

    def fits(self, settings: Settings) -> bool:
        """Tell whether the handle is valid for these settings, in this process."""
        # All settings first: that costs half as much, and they seldom change.
        same = self._settings == settings or self._values == tuple(map(settings.get, self._keys))
        # The process id is compared too, because uWSGI forks without running Python's hooks.
        return same and self._pid == os.getpid()


class Publishing(Protocol):
    """Shows this process's figures to others, and passes on the instructions of others."""

    def page(self, pool: DatabasePool, config: PoolConfig) -> Page:
        """Return where a new pool keeps its figures."""

    def drained(self) -> Collection[str]:
        """Return the replicas that an operator has drained."""

    def note_health(self, alias: str, state: State, lag: float | None) -> None:
        """Show in what state a replica was found, and its lag in seconds."""

    def after_fork(self) -> None:
        """Start over in a forked child, after its pools were dropped."""

    def end(self) -> None:
        """Show nothing more, because the process ends and its pools are closed."""


class Unpublished:
    """Publishes nothing: pools keep their figures in private memory."""

    def page(self, pool: DatabasePool, config: PoolConfig) -> Page:
        return Page.private(config.max)

    def drained(self) -> Collection[str]:
        return ()

    def note_health(self, alias: str, state: State, lag: float | None) -> None:
        pass

    def after_fork(self) -> None:
        pass

    def end(self) -> None:
        pass


class Registry:
    """Finds the pool for a database wrapper, and the topology of the clusters."""

    def __init__(self) -> None:
        self.publisher: Publishing = Unpublished()
        self.first_turn: Callable[[], int] = partial(randrange, 2**16)
        """Returns the turn that the balancers of this process start with.  Processes with few
        reads must not all start with the same replica."""
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self.is_forked = False
        """Whether this process is a forked child, which started over without pools."""
        self._lock = threading.RLock()  # guards _pools and _topology
        self._pools: dict[str, list[tuple[Identity, DatabasePool]]] = {}
        self._topology: tuple[object, Topology] | None = None
        self.housekeeper = Housekeeper()
        self.monitor = Monitor()

    # -- pools ----------------------------------------------------------------------------

    def handle_for(self, wrapper: Poolable) -> Handle:
        """Return a handle to the pool for a wrapper's settings; make the pool if necessary.

        A pool belongs to an alias and to the settings that reach the server.  The alias alone
        is not enough: tests rename databases in place, and a copy of a wrapper has the same
        alias with other options.  All settings would be too much: each tenant would have a pool.

        Raises:
            ImproperlyConfigured: the settings are wrong.

        """
        if self._pid != os.getpid():
            self.renew_after_fork()
        with self._lock:
            # One copy, because another thread may change the settings at any time.  It is made
            # with the lock held, so that an old password never replaces a new one below.
            settings = snapshot(wrapper.settings_dict)
            keys = (*IDENTITY, *wrapper.identity_settings)
            if wrapper.alias not in conf.databases():
                # Code has put a wrapper of its own into ``connections``.  When that is gone, no
                # code could reach the pool to end it.
                return Handle(settings, keys, None)
            pool, is_new = self._pool_for(wrapper, settings, keys)
            if pool.connector is not None:
                pool.connector.settings = settings
        if is_new:
            self._end_removed()
        return Handle(settings, (*keys, ROTATED), pool if pool.is_pooled else None)

    def _pool_for(
        self, wrapper: Poolable, settings: Settings, keys: Iterable[str]
    ) -> tuple[DatabasePool, bool]:
        """Return the pool for these settings, and whether it is new; the caller holds the lock."""
        identity = (type(wrapper), *map(settings.get, keys))
        made = self._pools.setdefault(wrapper.alias, [])
        for known, pool in made:
            if known == identity:
                return pool, False
        # The settings are checked only here: Django's own tests set CONN_MAX_AGE later, and then
        # expect the behavior of the stock backend.
        pool = self._make(wrapper, settings)
        made.append((identity, pool))
        return pool, True

    def _end_removed(self) -> None:
        """Dispose of the unused pools of aliases that were taken out of the settings."""
        for alias in self._pools.keys() - conf.databases().keys():
            for pool in self.all_pools(alias):
                if not pool.is_in_use:
                    pool.dispose_alone()

    def _make(self, wrapper: Poolable, settings: Settings) -> DatabasePool:
        if not wrapper.can_be_pooled(settings):
            return DatabasePool(wrapper.alias, wrapper.vendor)
        try:
            config = conf.pool_config(wrapper.alias, settings)
            if config is None:
                return DatabasePool(wrapper.alias, wrapper.vendor)
            connector = wrapper.make_connector(settings, config)
        except ConfigError as error:
            raise conf.improperly(error) from None
        pool = DatabasePool(
            wrapper.alias,
            wrapper.vendor,
            config,
            connector,
            self.publisher.page,
            self.housekeeper.watch,
            self.all_pools,
        )
        PoolManager.register(pool)
        return pool

    def all_pools(self, alias: str | None = None) -> list[DatabasePool]:
        """Return the pools made so far, of one alias or of all.

        Takes no lock: the handler of a signal calls this, perhaps while a thread holds it.
        """
        lists = list(self._pools.values()) if alias is None else [self._pools.get(alias, [])]
        return [pool for pools in lists for _, pool in list(pools)]

    def dispose(self, alias: str) -> None:
        """Dispose of every pool of an alias."""
        for pool in self.all_pools(alias):
            pool.dispose_alone()

    def dispose_all(self) -> None:
        """Dispose of every pool; the monitor stops too, for it would open some again."""
        self.monitor.stop()
        for pool in self.all_pools():
            pool.dispose_alone()

    def clear(self, alias: str) -> None:
        """Drop all connections of an alias: idle ones now, leased ones at checkin."""
        for pool in self.all_pools(alias):
            pool.clear_alone()

    def in_use(self, alias: str) -> int:
        """Return how many connections of an alias are leased in this process."""
        return sum(pool.status().checkedout for pool in self.all_pools(alias))

    # -- clusters -------------------------------------------------------------------------

    @property
    def topology(self) -> Topology:
        """The clusters that the settings describe.

        Raises:
            ImproperlyConfigured: the settings are wrong.

        """
        try:
            configs = conf.clusters()
            if self._topology is None or self._topology[0] is not configs:
                # One object for all threads, because it keeps what they learn about replicas.
                with self._lock:
                    if self._topology is None or self._topology[0] is not configs:
                        self._topology = configs, self._make_topology(configs)
        except ConfigError as error:
            raise conf.improperly(error) from None
        return self._topology[1]

    def topology_or_empty(self) -> Topology:
        """Return the clusters; none if the settings are wrong, which the system check reports."""
        return Topology(()) if conf.clusters_or_none() is None else self.topology

    def _make_topology(self, configs: Iterable[ClusterConfig]) -> Topology:
        topology = Topology(map(self._make_cluster, configs))
        _drain(topology, self.publisher.drained())
        return topology

    def _make_cluster(self, config: ClusterConfig) -> Cluster:
        return Cluster(
            config,
            conf.balancer(config),
            Surroundings(
                in_use=self.in_use,
                servers=PooledServers() if conf.has_servers(config) else None,
                tells_positions=conf.tells_positions(config),
                first_turn=self.first_turn(),
                on_change=partial(signals.tell_of_replica, config.primary),
                on_look=self.publisher.note_health,
            ),
            # Such a read runs on no replica, so only the monitor can find out that one works again.
            on_fall_back=lambda cluster: self.monitor.note_use(cluster),
        )

    def drain(self, replicas: Collection[str]) -> None:
        """Drain these replicas, and undrain all others."""
        if self._topology:
            _drain(self._topology[1], replicas)

    # -- fork ------------------------------------------------------------------------------

    def renew_after_fork(self) -> None:
        """Start without pools in a forked child, and leave the parent's connections alone.

        It takes none of the old locks: a thread that held one does not exist in the child.
        """
        inherited = [pool for pools in self._pools.values() for _, pool in pools]
        self._start()
        self.is_forked = True
        for pool in inherited:
            pool.abandon()
            PoolManager.forget(pool)
        for wrapper in connections.all(initialized_only=True):
            # Other backends keep their connections, as Django leaves them.
            forget = getattr(wrapper, "forget_lease", None)
            if forget is not None:
                forget()
        self.publisher.after_fork()

    def before_fork(self) -> None:
        """Stop our threads before the process forks.

        Python warns when a process with threads forks, and it looks for threads after the hooks
        have run.  So the upkeep continues only with the next checkout, unless the settings ask
        for something that needs the thread.
        """
        # The monitor first: when it opens a connection, the housekeeper starts again.
        self.monitor.stop()
        self.housekeeper.stop()
        for pool in self.all_pools():
            pool.unwatch()

    # -- end -------------------------------------------------------------------------------

    def end(self) -> None:
        """Stop threads, close pools and remove what is published, when the interpreter exits.

        Exit handlers that run later may still use the databases.  The monitor ends first, because
        it would open pools again.
        """
        if self._pid != os.getpid():  # forked without Python's hooks, and not used since
            self.renew_after_fork()
        self.monitor.end()
        self.housekeeper.end()
        try:
            close_all()
        finally:
            self.publisher.end()


def _drain(topology: Topology, replicas: Collection[str]) -> None:
    for cluster in topology.clusters.values():
        cluster.health.drain(replicas)


def snapshot(settings: Mapping[str, Any]) -> Settings:
    """Return a copy, nested dicts included, so that changes made in place are noticed."""
    # Copied at once: another thread may add a key meanwhile.
    return {
        key: snapshot(value) if isinstance(value, dict) else value
        for key, value in dict(settings).items()
    }


registry = Registry()
atexit.register(registry.end)

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=registry.before_fork,
        after_in_parent=lambda: registry.housekeeper.resume(),
        after_in_child=registry.renew_after_fork,
    )
