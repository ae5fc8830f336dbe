"""Connects to each database through its pool and asks who answers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ... import conf
from ...errors import PoolError, PoolTimeout
from ...process.database_pool import describe
from ...process.mappings import pools
from ...process.registry import registry
from ...process.replication_logs import PooledServers
from ...routing import NotAsked, Role, ServerFailed
from ...routing.lag import at_one_look
from ..report import collect
from .budget import Budget, budgets
from .sizing import Use, advise, observe

if TYPE_CHECKING:
    from ...drivers.facts import ServerFacts
    from ...pooling import PoolConfig
    from ...process.database_pool import DatabasePool, ServerConnector

# Seconds for all that a database is asked.
TIMEOUT = 2.0


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found of one alias."""

    alias: str
    role: Role
    """By the settings."""
    vendor: str
    server: str = ""
    found: str | None = None
    """"primary" or "replica", by what the server says; None if it does not."""
    read_only: bool | None = None
    connect_ms: float | None = None
    """To open a connection, with all that Django sets up on it."""
    latency_ms: float | None = None
    """Of a ping."""
    lag_s: float | None = None
    budgets: tuple[Budget, ...] = ()
    """The tightest first."""
    warnings: tuple[str, ...] = ()
    """What is likely to go wrong."""
    advice: tuple[str, ...] = ()
    """What the use that was seen says of the pool's size."""
    error: str | None = None

    @property
    def healthy(self) -> bool:
        """Tell whether it answers and is what the settings say."""
        return self.error is None


def inspect(
    alias: str | None = None, processes: int | None = None, seconds: float = 0
) -> list[Inspection]:
    """Inspect one database, or all.

    Args:
        alias: of the database.
        processes: how many have pools, on all hosts; by default those alive on this one.
        seconds: how long to watch the use of the pools, for advice.

    """
    count = processes or max(1, sum(1 for process in collect().processes if process.pools))
    use = observe(seconds) if seconds else {}
    wanted = [name for name in pools if alias is None or _concerns(name, alias)]
    # Primaries first: what they write after their answer is not lag.
    primaries_first = sorted(wanted, key=lambda name: registry.topology.role(name) == "replica")
    asked = {name: _inspect_one(name) for name in primaries_first}
    facts = {name: found for name, (_, found) in asked.items() if found is not None}
    return [
        _judge(asked[name][0], facts, count, use.get(name))
        for name in wanted
        if alias in (None, name)
    ]


def measure_lag(alias: str, timeout: float) -> float | None:
    """Return how many seconds a replica is behind its primary; None if the server cannot tell.

    Args:
        alias: of the replica.
        timeout: longest wait for each of the two servers.

    Raises:
        PoolError: it is no replica by the settings, it follows no server, or one of the two
            cannot be asked.

    """
    cluster = registry.topology.cluster_of_replica(alias)
    if cluster is None:
        raise PoolError(f"{alias!r} is not a replica")
    # The primary first, as in ``inspect``.
    leader, replica = (_facts(name, timeout) for name in (cluster.primary, alias))
    if replica.role == "primary":
        raise PoolError(f"{alias!r} follows no other server")
    lag = _lag(replica, leader)
    if lag is None and replica.replicates and leader.position is not None:
        raise PoolError(f"the replication of {alias!r} is stopped")
    return lag


def _facts(alias: str, timeout: float) -> ServerFacts:
    pool = pools[alias]
    connector = pool.connector
    if connector is None:
        raise PoolError(f"cannot ask {alias!r}: it has no pool")

    def question(limit: float) -> ServerFacts:
        with pool.connection(limit) as raw:
            return connector.inspect(raw, limit)

    try:
        return pool.answer_within(timeout, question)
    except Exception as error:
        raise PoolError(f"cannot ask {alias!r}: {describe(error, pool)}") from error


def _concerns(other: str, alias: str) -> bool:
    """Tell whether a database has to be asked about another: its primary, its neighbours."""
    cluster = registry.topology.by_alias.get(alias)
    if other == alias or (cluster and other == cluster.primary):
        return True
    return _may_be_one(conf.databases()[other], conf.databases()[alias])


def _may_be_one(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Tell whether two databases may be on one server; only the servers themselves know."""
    ports = {str(one["PORT"]), str(other["PORT"])}
    return _machine(one["HOST"]) == _machine(other["HOST"]) and ("" in ports or len(ports) == 1)


def _machine(host: str) -> str:
    is_here = host.startswith(("/", "@")) or host in ("", "localhost", "127.0.0.1", "::1")
    return "" if is_here else host.lower()


def _inspect_one(alias: str) -> tuple[Inspection, ServerFacts | None]:
    pool = pools[alias]
    found = Inspection(alias, role=registry.topology.role(alias), vendor=pool.vendor)
    try:
        if pool.connector is None:
            pool.answer_within(TIMEOUT, pool.ping)
            return found, None
        return pool.answer_within(TIMEOUT, partial(_meet, pool, pool.connector, found))
    except Exception as error:
        return replace(found, error=describe(error, pool)), None


def _meet(
    pool: DatabasePool, connector: ServerConnector, found: Inspection, timeout: float
) -> tuple[Inspection, ServerFacts]:
    began = time.perf_counter()
    with pool.connection(timeout) as raw:
        connected = time.perf_counter()
        if not connector.ping(raw, timeout):
            raise PoolTimeout("the server did not answer a ping")
        answered = time.perf_counter()
        facts = connector.inspect(raw, timeout)
    return replace(
        found,
        server=facts.version,
        found=facts.role,
        read_only=facts.read_only,
        connect_ms=(connected - began) * 1000,
        latency_ms=(answered - connected) * 1000,
    ), facts


def _judge(
    inspection: Inspection, facts: Mapping[str, ServerFacts], processes: int, use: Use | None
) -> Inspection:
    alias = inspection.alias
    if alias not in facts:
        return inspection
    cluster = registry.topology.by_alias.get(alias)
    primary = facts.get(cluster.primary) if cluster else None
    limits = budgets(alias, facts, processes)
    config = pools[alias].config
    return replace(
        inspection,
        error=_fault(inspection),
        lag_s=_lag(facts[alias], primary) if inspection.role == "replica" else None,
        budgets=tuple(limits),
        warnings=tuple(_warnings(inspection, facts[alias], limits)),
        advice=tuple(advise(use, config)) if use and config else (),
    )


def _fault(inspection: Inspection) -> str | None:
    if inspection.role == "primary":
        if inspection.found == "replica":
            return "is configured as a primary but a replica"
        if inspection.read_only:
            return "is configured as a primary but read-only"
    if inspection.role == "replica" and inspection.found == "primary":
        return "is configured as a replica but follows no other server"
    return None


def _warnings(inspection: Inspection, facts: ServerFacts, limits: list[Budget]) -> Iterator[str]:
    if facts.replicates and facts.read_only is False:
        yield "the replica takes writes: set read_only on the server"
    if not _tells_position(inspection.alias):
        yield (
            "the server tells no position in its replication log: reads after a write are "
            "pinned to the primary for a time instead"
        )
    for budget in limits:
        if not budget.fits:
            yield f"the pools may need more connections than there are: {budget}"
    config = pools[inspection.alias].config
    if config is not None and facts.idle_limit_s is not None:
        yield from _idle_warnings(config, facts.idle_limit_s)


def _idle_warnings(config: PoolConfig, limit: float) -> Iterator[str]:
    """Tell by which options connections rest for as long as the server lets them."""
    closes = f"the server closes connections that rest for {limit:g} s, and"
    if config.max_idle is None or config.max_idle >= limit:
        yield f"{closes} max_idle is {config.max_idle}: set it below"
    # max_idle leaves these alone.
    if config.min_idle and (config.pool_recycle is None or config.pool_recycle >= limit):
        yield (
            f"{closes} those kept for min_idle live for pool_recycle, {config.pool_recycle}: "
            "set it below"
        )


def _tells_position(alias: str) -> bool:
    """Tell whether routing gets the positions from a server that it is to go by."""
    cluster = registry.topology.by_alias.get(alias)
    if cluster is None or not cluster.uses_positions:
        return True

    def question(_: float) -> bool:
        with PooledServers().log_of(alias) as log:
            return (log.written() if alias == cluster.primary else log.replayed()) is not None

    try:
        return pools[alias].answer_within(TIMEOUT, question)
    except (ServerFailed, NotAsked, PoolTimeout):
        return True  # another trouble


def _lag(replica: ServerFacts, primary: ServerFacts | None) -> float | None:
    return at_one_look(
        primary.position if primary else None,
        replica.position,
        told_s=replica.lag_s,
        age_s=replica.replayed_age_s,
    )
