"""The report as the JSON document that scripts rely on (see docs/status.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ..pooling import PoolStatus
from ..pooling.histogram import WAIT_BOUNDS
from ..sql.marks import MARKS
from .boards.replica_health import ReplicaState
from .rates import Rates
from .report import VERSION, ConnectionReport, PoolReport, ProcessPool, ProcessReport, Report


def document(
    report: Report, *, connections: bool = False, rates: Mapping[str, Rates] | None = None
) -> dict[str, Any]:
    """Return the report as plain data, with connections and rates if you ask for them."""
    return {
        "version": VERSION,
        "generated_at": report.generated_at.isoformat(timespec="milliseconds"),
        "host": report.host,
        "pools": [_pool(pool, rates) for pool in report.pools],
        "processes": [_process(process, connections) for process in report.processes],
        "wait_bounds_s": WAIT_BOUNDS,
        "warnings": report.warnings,
    }


def _pool(pool: PoolReport, rates: Mapping[str, Rates] | None) -> dict[str, Any]:
    content = {
        "alias": pool.alias,
        "role": pool.role,
        "cluster": pool.cluster,
        "vendor": pool.vendor,
        "profile": pool.profile,
        "processes": pool.processes,
        "ended_processes": pool.ended,
        "state": pool.state,
        **_health(pool.health),
        **figures(pool.status),
    }
    if rates is not None:
        content["rates"] = asdict(rates[pool.alias]) if pool.alias in rates else None
    return content


def _process(process: ProcessReport, connections: bool) -> dict[str, Any]:
    return {
        "id": process.id,
        "pid": process.pid,
        "command": process.command,
        "started_at": process.started_at,
        "pools": [_process_pool(pool, connections) for pool in process.pools],
    }


def _process_pool(pool: ProcessPool, connections: bool) -> dict[str, Any]:
    content = {
        "alias": pool.alias,
        "profile": pool.profile,
        "state": pool.state,
        **_health(pool.health),
        **figures(pool.status),
    }
    if connections:
        content["connections"] = list(map(_connection, pool.connections))
    return content


def _connection(connection: ConnectionReport) -> dict[str, Any]:
    return {
        "state": connection.state,
        "state_age_s": round(connection.state_age_s, 3),
        "age_s": round(connection.age_s, 3),
        "uses": connection.uses,
        "thread": connection.thread,
        "backend": connection.backend,
        "server": asdict(connection.server) if connection.server else None,
    }


def _health(health: ReplicaState | None) -> dict[str, Any]:
    lag = health.lag_s if health else None
    return {
        "health": health.state if health else None,
        "lag_s": None if lag is None else round(lag, 3),
    }


def figures(status: PoolStatus) -> dict[str, Any]:
    """Return the figures of a pool by their names in the document."""
    return {
        "size": status.size,
        "max": status.max,
        "open": status.open,
        "in_use": status.checkedout,
        "idle": status.checkedin,
        "overflow": status.overflow,
        "peak_open": status.peak_open,
        "opening": status.opening,
        "waiting": status.waiting,
        "oldest_wait_s": round(status.oldest_wait, 3),
        "oldest_use_s": round(status.oldest_use, 3),
        "checkouts": status.checkouts,
        "waits": status.waits,
        "waited_s": round(status.waited, 6),
        "p95_wait_s": status.p95_wait,
        "wait_buckets": status.wait_buckets,
        "timeouts": status.timeouts,
        "refused": status.refused,
        "connects": status.connects,
        "connect_errors": status.connect_errors,
        "closes": status.closes,
        "lost": status.lost,
        "recycled": status.recycled,
        "cleared": status.cleared,
        "leaks": status.leaks,
        "resets": status.resets,
        "unsafe_reads": status.unsafe_reads,
        "marked": status.marked,
        "marked_by": {
            kind: count for kind, count in zip(MARKS, status.marks, strict=True) if count
        },
    }
