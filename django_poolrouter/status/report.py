"""The report of all pools of the project on this host.  Every reader shows this one."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from .. import conf
from ..pooling import PoolStatus
from ..pooling.counters import add
from ..process.health import UTC_NOW
from ..process.registry import registry
from ..routing import Role
from .boards import control, replica_health
from .boards.reader import ConnectionReport, ProcessPool, ProcessReport, read_boards
from .boards.replica_health import ReplicaState
from .boards.totals import Retired

__all__ = ["ConnectionReport", "PoolReport", "ProcessPool", "ProcessReport", "Report", "collect"]

VERSION = 1
# From good to bad.  A pool has the worst state that it has in any process.
STATES = ("unused", "ok", "lagging", "drained", "busy", "ejected", "waiting", "exhausted")


@dataclass(frozen=True, slots=True)
class PoolReport:
    """One alias over all processes: figures are sums, but ages are maxima.

    Counters include those of ended processes.  If no process has opened the pool, size and
    max are those of a single process.
    """

    alias: str
    role: Role
    cluster: str | None
    vendor: str
    profile: str
    processes: int
    status: PoolStatus
    state: str
    """One of STATES."""
    ended: int = 0
    """How many processes used the pool and have ended."""
    health: ReplicaState | None = None
    """How processes found the replica; None if none has looked lately."""


@dataclass(frozen=True, slots=True)
class Report:
    """The pools of the project on this host."""

    generated_at: datetime
    clock: float
    """Monotonic seconds, to measure the time between two reports."""
    host: str
    pools: tuple[PoolReport, ...]
    processes: tuple[ProcessReport, ...]
    warnings: tuple[str, ...] = ()
    """One line for each thing that could not be read."""


def collect(alias: str | None = None, wall_clock: Callable[[], datetime] = UTC_NOW) -> Report:
    """Read the boards of all live processes, and add the pools that no process has opened.

    Args:
        alias: only this database; by default all.
        wall_clock: returns the time of the report.

    """
    found = read_boards(conf.namespace())
    processes = tuple(
        replace(process, pools=tuple(p for p in process.pools if alias in (None, p.alias)))
        for process in found.processes
    )
    return Report(
        generated_at=wall_clock(),
        clock=time.monotonic(),
        host=socket.gethostname(),
        pools=tuple(_sum_up(processes, found.ended, alias)),
        processes=processes,
        warnings=tuple(found.warnings),
    )


def _sum_up(
    processes: tuple[ProcessReport, ...], ended: Retired, wanted: str | None
) -> Iterator[PoolReport]:
    topology = registry.topology_or_empty()
    drained = control.drained()
    for alias, database in conf.databases().items():
        backend = conf.backend(database["ENGINE"])
        if backend is None or wanted not in (None, alias):
            continue
        found = [pool for process in processes for pool in process.pools if pool.alias == alias]
        config = conf.pool_config_or_none(alias, database)
        if config is None and not found:
            continue
        cluster = topology.by_alias.get(alias)
        statuses = [pool.status for pool in found] or [PoolStatus.unopened(config)]
        yield PoolReport(
            alias=alias,
            role=topology.role(alias),
            cluster=cluster.primary if cluster else None,
            vendor=backend.vendor,
            profile=config.profile if config else found[0].profile,
            processes=len(found),
            status=add([*statuses, *_counted(ended.pools, alias)]),
            state=_state(found, drained=alias in drained),
            ended=ended.processes.get(alias, 0),
            health=replica_health.worst(pool.health for pool in found),
        )


def _state(pools: list[ProcessPool], *, drained: bool) -> str:
    states = [pool.state for pool in pools] + (["drained"] if drained else [])
    return max(states, key=STATES.index, default="unused")


def _counted(ended: Mapping[str, PoolStatus], alias: str) -> list[PoolStatus]:
    return [ended[alias]] if alias in ended else []
