"""Connects to each database through its pool, and compares the server with the settings."""

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
from .marks import advise_on_marks
from .sizing import Use, advise, observe

if TYPE_CHECKING:
    from ...drivers.facts import ServerFacts
    from ...pooling import PoolConfig, PoolStatus
    from ...process.database_pool import DatabasePool, ServerConnector

# Seconds for all questions to one database.
TIMEOUT = 2.0


@dataclass(frozen=True, slots=True)
class Inspection:
    """The findings about one alias."""

    alias: str
    role: Role
    """The role in the settings."""
    vendor: str
    server: str = ""
    found: str | None = None
    """"primary" or "replica", as the server says; None if it does not say."""
    read_only: bool | None = None
    connect_ms: float | None = None
    """The time to open a connection, including what Django sets up on it."""
    latency_ms: float | None = None
    """The time of a ping."""
    lag_s: float | None = None
    budgets: tuple[Budget, ...] = ()
    """The tightest first."""
    warnings: tuple[str, ...] = ()
    """Likely problems, a sentence each."""
    advice: tuple[str, ...] = ()
    """Advice on the pool's size and on session state, from the observed use."""
    error: str | None = None

    @property
    def healthy(self) -> bool:
        """Tell whether the server answers and matches the settings."""
        return self.error is None


def inspect(
    alias: str | None = None, processes: int | None = None, seconds: float = 0
) -> list[Inspection]:
    """Inspect one database, or all.

    Args:
        alias: only this database; by default all.
        processes: how many processes on all hosts have pools; by default those that live on
            this host.
        seconds: how long to watch the use of the pools, for advice; 0 for no advice.

    """
    report = collect()
    count = processes or max(1, sum(1 for process in report.processes if process.pools))
    statuses = {pool.alias: pool.status for pool in report.pools}
    use = observe(seconds) if seconds else {}
    wanted = [name for name in pools if alias is None or _is_needed_for(name, alias)]
    # Primaries first.  If a replica answered before its primary, then writes between the two
    # answers would look like lag.
    primaries_first = sorted(wanted, key=lambda name: registry.topology.role(name) == "replica")
    asked = {name: _inspect_one(name) for name in primaries_first}
    facts = {name: found for name, (_, found) in asked.items() if found is not None}
    return [
        _judge(asked[name][0], facts, count, use.get(name), statuses.get(name))
        for name in wanted
        if alias in (None, name)
    ]


def measure_lag(alias: str, timeout: float) -> float | None:
    """Return how many seconds a replica is behind its primary; None if the server cannot tell.

    Args:
        alias: the replica.
        timeout: longest wait for each of the two servers, in seconds.

    Raises:
        PoolError: the alias is not a replica in the settings, its server follows no other
            server, its replication is stopped, or one of the two servers cannot be asked.

    """
    cluster = registry.topology.cluster_of_replica(alias)
    if cluster is None:
        raise PoolError(f"{alias!r} is not a replica")
    # Ask the primary first, as in ``inspect``.
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


def _is_needed_for(other: str, alias: str) -> bool:
    """Tell whether the inspection of ``alias`` needs the answers of ``other``.

    It needs those of its primary for the lag, and those of databases on the same server for
    the budget.
    """
    cluster = registry.topology.by_alias.get(alias)
    if other == alias or (cluster and other == cluster.primary):
        return True
    return _may_share_server(conf.databases()[other], conf.databases()[alias])


def _may_share_server(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Tell whether two databases may be on one server.  Only the servers know for sure."""
    ports = {str(one["PORT"]), str(other["PORT"])}
    return _machine(one["HOST"]) == _machine(other["HOST"]) and ("" in ports or len(ports) == 1)


def _machine(host: str) -> str:
    is_local = host.startswith(("/", "@")) or host in ("", "localhost", "127.0.0.1", "::1")
    return "" if is_local else host.lower()


def _inspect_one(alias: str) -> tuple[Inspection, ServerFacts | None]:
    pool = pools[alias]
    found = Inspection(alias, role=registry.topology.role(alias), vendor=pool.vendor)
    try:
        if pool.connector is None:
            pool.answer_within(TIMEOUT, pool.ping)
            return found, None
        return pool.answer_within(TIMEOUT, partial(_measure, pool, pool.connector, found))
    except Exception as error:
        return replace(found, error=describe(error, pool)), None


def _measure(
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
    inspection: Inspection,
    facts: Mapping[str, ServerFacts],
    processes: int,
    use: Use | None,
    status: PoolStatus | None,
) -> Inspection:
    alias = inspection.alias
    if alias not in facts:
        return inspection
    cluster = registry.topology.by_alias.get(alias)
    primary = facts.get(cluster.primary) if cluster else None
    limits = budgets(alias, facts, processes)
    return replace(
        inspection,
        error=_fault(inspection),
        lag_s=_lag(facts[alias], primary) if inspection.role == "replica" else None,
        budgets=tuple(limits),
        warnings=tuple(_warnings(inspection, facts[alias], limits)),
        advice=(*_advice(pools[alias], use, status), *_advise_on_requests(alias)),
    )


def _advise_on_requests(alias: str) -> Iterator[str]:
    """Yield what a reader of the figures must know about a primary with replicas."""
    cluster = registry.topology.clusters.get(alias)
    if cluster is not None and cluster.replicas and cluster.config.unsafe_methods == "primary":
        yield (
            'UNSAFE_METHODS is "primary": the reads of POST, PUT, PATCH and DELETE requests go to '
            'this primary; poolstatus counts them as UNSAFE, and "replica" lets them be routed'
        )


def _advice(pool: DatabasePool, use: Use | None, status: PoolStatus | None) -> Iterator[str]:
    if pool.config is not None and pool.connector is not None:
        if use is not None:
            yield from advise(use, pool.config)
        tells_session = pool.connector.tells_session
        yield from advise_on_marks(status, pool.config, tells_session=tells_session)


def _fault(inspection: Inspection) -> str | None:
    if inspection.role == "primary":
        if inspection.found == "replica":
            return "is configured as a primary but is a replica"
        if inspection.read_only:
            return "is configured as a primary but is read-only"
    if inspection.role == "replica" and inspection.found == "primary":
        return "is configured as a replica but follows no other server"
    return None


def _warnings(inspection: Inspection, facts: ServerFacts, limits: list[Budget]) -> Iterator[str]:
    if facts.replicates and facts.read_only is False:
        yield "the replica takes writes: set read_only on the server"
    if not _reports_positions(inspection.alias):
        yield (
            "the server reports no position in its replication log, so reads after a write are "
            "pinned to the primary for some time"
        )
    for budget in limits:
        if not budget.fits:
            yield f"the pools may need more connections than the server allows: {budget}"
    config = pools[inspection.alias].config
    if config is not None and facts.idle_limit_s is not None:
        yield from _idle_warnings(config, facts.idle_limit_s)


def _idle_warnings(config: PoolConfig, limit: float) -> Iterator[str]:
    """Warn of options that leave connections idle until the server closes them."""
    closes = f"the server closes connections that are idle for {limit:g} s, but"
    if config.max_idle is None or config.max_idle >= limit:
        yield f"{closes} max_idle is {config.max_idle}: set it below {limit:g}"
    # The pool does not apply max_idle to the connections that it keeps for min_idle.
    if config.min_idle and (config.pool_recycle is None or config.pool_recycle >= limit):
        yield (
            f"{closes} those kept for min_idle stay until pool_recycle, which is "
            f"{config.pool_recycle}: set it below {limit:g}"
        )


def _reports_positions(alias: str) -> bool:
    """Tell whether the server reports the positions that routing needs, if it needs any."""
    cluster = registry.topology.by_alias.get(alias)
    if cluster is None or not cluster.uses_positions:
        return True

    def question(_: float) -> bool:
        with PooledServers().log_of(alias) as log:
            return (log.written() if alias == cluster.primary else log.replayed()) is not None

    try:
        return pools[alias].answer_within(TIMEOUT, question)
    except (ServerFailed, NotAsked, PoolTimeout):
        return True  # It cannot be asked: that is another problem.


def _lag(replica: ServerFacts, primary: ServerFacts | None) -> float | None:
    return at_one_look(
        primary.position if primary else None,
        replica.position,
        told_s=replica.lag_s,
        age_s=replica.replayed_age_s,
    )
