"""Exports the pools of this host to Prometheus.

The process that answers a scrape reports all processes of the project on its host.  So you
need one target for each host, and no multiprocess directory of prometheus_client.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import accumulate
from typing import Any, NamedTuple

from django.http import HttpRequest, HttpResponse
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from ..sql.marks import MARKS
from ..status.boards import replica_health
from ..status.document import document
from ..status.report import STATES, collect

# The keys of the document that the metrics come from.
KEYS = ("pools", "processes", "wait_bounds_s", "warnings")
WAIT_TIME = "db_client_connection_wait_time_seconds"
MARKED = "poolrouter_connection_marked_leases"


class Figure(NamedTuple):
    """How one figure of the JSON document is exported."""

    key: str
    """Its name in the document."""
    name: str
    """The metric's name: `db_client_connection_…` where OpenTelemetry has a metric like it."""
    help: str
    state: str | None = None
    """The value of the label `state`, if one metric has several figures."""


class Level(NamedTuple):
    """Whose figures the metrics have: the sums of the whole host, or those of each process."""

    labels: tuple[str, ...]
    facts: tuple[str, ...]
    """The keys that describe a pool but are not figures."""
    prefix: str = ""
    """Replaces the usual prefixes.  If both levels shared a name, a sum would count twice."""

    def name(self, name: str) -> str:
        """Return the name of a metric on this level."""
        if not self.prefix:
            return name
        return self.prefix + name.removeprefix("db_client_").removeprefix("poolrouter_")

    def values(self, pool: Mapping[str, Any]) -> list[str]:
        """Return the values of the labels."""
        return [str(pool[label] or "") for label in self.labels]


HOST = Level(("alias", "role", "cluster"), ("vendor", "profile"))
PROCESS = Level(("process", "pid", "alias"), ("profile",), "poolrouter_process_")

GAUGES = (
    Figure("in_use", "db_client_connection_count", "Open connections by state.", "used"),
    Figure("idle", "db_client_connection_count", "Open connections by state.", "idle"),
    Figure("max", "db_client_connection_max", "Most connections that may be open."),
    Figure("size", "db_client_connection_idle_max", "Connections kept when idle (pool_size)."),
    Figure("waiting", "db_client_connection_pending_requests", "Callers that wait."),
    Figure(
        "peak_open",
        "poolrouter_connection_peak_open",
        "Most connections that were open at once.",
    ),
    Figure("open", "poolrouter_connection_open", "Open connections, used and idle."),
    Figure("overflow", "poolrouter_connection_overflow", "Open connections above pool_size."),
    Figure("opening", "poolrouter_connection_opening", "Connections being opened."),
    Figure(
        "oldest_wait_s",
        "poolrouter_connection_oldest_wait_seconds",
        "How long the first caller in the queue has waited.",
    ),
    Figure(
        "oldest_use_s",
        "poolrouter_connection_oldest_use_seconds",
        "The longest lease under way.",
    ),
    Figure(
        "p95_wait_s",
        "poolrouter_connection_p95_wait_seconds",
        "95 % of callers waited no longer than this, since the first process started.",
    ),
    Figure("lag_s", "poolrouter_replica_lag_seconds", "How far a replica is behind its primary."),
)
# Counters.  Their exported names end in `_total`.
COUNTERS = (
    Figure("timeouts", "db_client_connection_timeouts", "Callers that gave up waiting."),
    Figure("checkouts", "poolrouter_connection_checkouts", "Leases given."),
    Figure("waits", "poolrouter_connection_waits", "Leases that a caller waited for."),
    Figure("refused", "poolrouter_connection_refused", "Callers refused by max_waiting."),
    Figure("connects", "poolrouter_connection_connects", "Connections opened."),
    Figure("connect_errors", "poolrouter_connection_connect_errors", "Connects that failed."),
    Figure("closes", "poolrouter_connection_closes", "Connections closed, for any reason."),
    Figure("lost", "poolrouter_connection_lost", "Connections found dead."),
    Figure(
        "recycled",
        "poolrouter_connection_recycled",
        "Connections closed because of age, idleness or reset.",
    ),
    Figure(
        "cleared",
        "poolrouter_connection_cleared",
        "Connections closed because the pool was cleared.",
    ),
    Figure("leaks", "poolrouter_connection_leaks", "Leases that lasted longer than leak_after."),
    Figure("resets", "poolrouter_connection_session_resets", "Sessions cleared at checkin."),
    Figure(
        "unsafe_reads",
        "poolrouter_unsafe_request_reads",
        "Reads that stayed on the primary because their request was not safe.",
    ),
)

# Figures that are words.  Each possible word is exported with 1 or 0.
WORDS = {
    Figure("state", "poolrouter_pool_state", "1 for the pool's state, 0 for others."): STATES,
    Figure(
        "health", "poolrouter_replica_health", "1 for the replica's health, 0 for others."
    ): replica_health.STATES,
}
# Only for the whole host.
PROCESSES = Figure("processes", "poolrouter_processes", "Live processes that opened the pool.")
ENDED = Figure(
    "ended_processes", "poolrouter_processes_ended", "Ended processes that opened the pool."
)

Pools = Sequence[Mapping[str, Any]]


class PoolCollector(Collector):
    """Reads the report of the host at each scrape, and keeps no figures itself.

    Args:
        processes: whether to export the figures of each process too, with its pid.

    """

    def __init__(self, *, processes: bool = True) -> None:
        self._processes = processes

    def collect(self) -> Iterable[Metric]:
        """Return all metrics with the current figures."""
        return list(self._metrics(document(collect())))

    def describe(self) -> Iterable[Metric]:
        """Return all metrics without figures, so that registering reads nothing."""
        nothing: dict[str, Any] = dict.fromkeys(KEYS, ())
        return list(self._metrics(nothing))

    def _metrics(self, data: Mapping[str, Any]) -> Iterator[Metric]:
        pools, bounds = data["pools"], data["wait_bounds_s"]
        yield from _of_pools(pools, bounds, HOST)
        yield from _families([PROCESSES], GaugeMetricFamily, pools, HOST)
        yield from _families([ENDED], CounterMetricFamily, pools, HOST)
        warnings = "Number of warnings about what poolstatus could not read."
        yield GaugeMetricFamily("poolrouter_warnings", warnings, value=len(data["warnings"]))
        if self._processes:
            processes = data["processes"]
            each = [
                {**pool, "process": p["id"], "pid": p["pid"]}
                for p in processes
                for pool in p["pools"]
            ]
            yield from _of_pools(each, bounds, PROCESS)
            yield _starts(processes)


def register(registry: CollectorRegistry = REGISTRY, *, processes: bool = True) -> None:
    """Make a registry export the pools, by default prometheus_client's own registry.

    Args:
        registry: a registry of prometheus_client.
        processes: whether to export the figures of each process too, with its pid.

    """
    registry.register(PoolCollector(processes=processes))


def metrics(request: HttpRequest, *, processes: bool = True) -> HttpResponse:
    """Answer a scrape with only the metrics of the pools, in the format that it asks for."""
    registry = CollectorRegistry()
    register(registry, processes=processes)
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return HttpResponse(encode(registry), content_type=content_type)


def _of_pools(pools: Pools, bounds: Iterable[float], level: Level) -> Iterator[Metric]:
    """Return the metrics that both levels have."""
    yield from _families(GAUGES, GaugeMetricFamily, pools, level)
    yield from _families(COUNTERS, CounterMetricFamily, pools, level)
    yield _waits(pools, bounds, level)
    yield _marks(pools, level)
    for figure, words in WORDS.items():
        yield _words(figure, words, pools, level)
    info = InfoMetricFamily(
        level.name("poolrouter_pool"), "Description of a pool.", labels=level.labels
    )
    for pool in pools:
        info.add_metric(level.values(pool), {name: pool[name] for name in level.facts})
    yield info


def _waits(pools: Pools, bounds: Iterable[float], level: Level) -> Metric:
    """Return how long callers waited, with those that did not wait and those that gave up."""
    name = level.name(WAIT_TIME)
    metric = HistogramMetricFamily(
        name, "How long callers waited for a connection.", labels=level.labels
    )
    names = [*map(str, bounds), "+Inf"]
    for pool in pools:
        at_once = max(0, pool["checkouts"] - pool["waits"])
        reached = [at_once + count for count in accumulate(pool["wait_buckets"])]
        buckets = list(zip(names, reached, strict=True))
        metric.add_metric(level.values(pool), buckets, sum_value=pool["waited_s"])
    return metric


def _marks(pools: Pools, level: Level) -> Metric:
    metric = CounterMetricFamily(
        level.name(MARKED),
        "Leases whose user left something in the session, by what it was.",
        labels=[*level.labels, "kind"],
    )
    for pool in pools:
        for kind in MARKS:
            metric.add_metric([*level.values(pool), kind], pool["marked_by"].get(kind, 0))
    return metric


def _words(figure: Figure, words: Iterable[str], pools: Pools, level: Level) -> Metric:
    """Return a figure that is a word: 1 for the current word, and 0 for all others."""
    key = figure.key
    labels = [*level.labels, key]
    metric = GaugeMetricFamily(level.name(figure.name), figure.help, labels=labels)
    for pool in pools:
        for word in words if pool[key] is not None else ():
            metric.add_metric([*level.values(pool), word], pool[key] == word)
    return metric


def _starts(processes: Sequence[Mapping[str, Any]]) -> Metric:
    metric = GaugeMetricFamily(
        "poolrouter_process_start_time_seconds",
        "When a process started, in seconds since 1970 (UTC).",
        labels=["process", "pid", "command"],
    )
    for process in processes:
        started = datetime.fromisoformat(process["started_at"]).timestamp()
        metric.add_metric([process["id"], str(process["pid"]), process["command"]], started)
    return metric


def _families(
    figures: Iterable[Figure],
    family: Callable[..., GaugeMetricFamily | CounterMetricFamily],
    pools: Pools,
    level: Level,
) -> Iterator[Metric]:
    found: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
    for figure in figures:
        name = level.name(figure.name)
        extra = [] if figure.state is None else [figure.state]
        labels = [*level.labels, *(["state"] if extra else [])]
        metric = found.setdefault(name, family(name, figure.help, labels=labels))
        for pool in pools:
            if pool[figure.key] is not None:
                metric.add_metric([*level.values(pool), *extra], pool[figure.key])
    yield from found.values()
