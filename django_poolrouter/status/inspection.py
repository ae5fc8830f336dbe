"""Connects to each database through its pool and asks who answers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .. import conf
from ..health import PoolHealthMonitor, describe
from ..registry import pools, registry
from .report import Report, collect

if TYPE_CHECKING:
    from ..backends.driver import ServerFacts

# A record that ends where a page of the log ends lets the primary's position count the
# next page's header already, which a replica replays only with the next record.
PAGE_HEADER = 40
TIMEOUT = 2.0


@dataclass(frozen=True, slots=True)
class Budget:
    """What the pools of one server may take of its connections."""

    processes: int
    needed: int
    """Connections if every live process on this host used its pools to the full."""
    limit: int | None
    """What the server allows; None if it does not say."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found of one alias."""

    alias: str
    role: str
    vendor: str
    server: str = ""
    found: str | None = None
    """"primary" or "replica", by what the server says; None if it does not."""
    latency_ms: float | None = None
    lag_s: float | None = None
    budget: Budget | None = None
    error: str | None = None

    @property
    def healthy(self) -> bool:
        """Tell whether it answers and is what the settings say."""
        return self.error is None


def inspect(alias: str | None = None) -> list[Inspection]:
    """Inspect one database, or all.

    A replica's lag is measured against its primary, so that one is asked too.
    """
    report = collect()
    wanted = [name for name in pools if alias in (None, name)]
    return list(_compare(wanted, report))


def _compare(aliases: list[str], report: Report) -> Iterator[Inspection]:
    facts: dict[str, ServerFacts] = {}
    for alias in aliases:
        inspection = _inspect(alias, facts)
        cluster = registry.topology.by_alias.get(alias)
        if cluster is None or alias not in facts:
            yield inspection
            continue
        role = "primary" if alias == cluster.primary else "replica"
        inspection = replace(inspection, role=role, budget=_budget(alias, report, facts[alias]))
        if role == "replica":
            if cluster.primary not in facts:
                _inspect(cluster.primary, facts)
            lag = _lag(facts[alias], facts.get(cluster.primary))
            inspection = replace(inspection, lag_s=lag)
        elif facts[alias].read_only:
            inspection = replace(inspection, error="is configured as a primary but read-only")
        yield inspection


def _inspect(alias: str, facts: dict[str, ServerFacts]) -> Inspection:
    pool = pools[alias]
    found = Inspection(alias, role="standalone", vendor=pool.vendor)
    health = PoolHealthMonitor(pool).check_health()
    if not health.healthy or pool.connector is None:
        return replace(found, error=health.error_message)
    try:
        with pool.connection() as raw:
            began = time.perf_counter()
            pool.connector.ping(raw, TIMEOUT)
            latency = (time.perf_counter() - began) * 1000
            server = facts[alias] = pool.connector.inspect(raw)
    except Exception as error:
        return replace(found, error=describe(error, pool))
    role = None if server.read_only is None else ("replica" if server.read_only else "primary")
    return replace(found, server=server.version, found=role, latency_ms=latency)


def _lag(replica: ServerFacts, primary: ServerFacts | None) -> float | None:
    """Return the replica's lag in seconds.

    The age of the last transaction alone would make a replica of an idle primary seem to
    lag, and the position received alone would make one that is cut off seem fresh.
    """
    if primary is None or primary.position is None or replica.position is None:
        return replica.lag_s
    return 0.0 if primary.position - replica.position <= PAGE_HEADER else replica.lag_s


def _budget(alias: str, report: Report, facts: ServerFacts) -> Budget:
    server = _server(alias)
    sharing = [pool for pool in report.pools if _server(pool.alias) == server]
    return Budget(
        processes=max((pool.processes for pool in sharing), default=0),
        needed=sum(pool.status.max for pool in sharing if pool.processes),
        limit=facts.max_connections,
    )


def _server(alias: str) -> tuple[str, str]:
    """Return what tells one server from another."""
    database = conf.databases()[alias]
    if database["HOST"] or database["PORT"]:
        return database["HOST"], str(database["PORT"])
    return database["ENGINE"], database["NAME"]
