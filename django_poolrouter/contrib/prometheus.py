"""The pools of this host for Prometheus.

Any process of the project that answers a scrape reports all processes of its host, so one
target for each host is right, and prometheus_client's multiprocess folder is not needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
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

from ..status.document import document
from ..status.report import STATES, collect

LABELS = ("alias", "role", "cluster")
FACTS = ("vendor", "profile")
WAIT_TIME = "db_client_connection_wait_time_seconds"


class Figure(NamedTuple):
    """How one figure of the JSON document is exported."""

    key: str
    """Its name in the document."""
    name: str
    """Of the metric; `db_client_connection_…` where OpenTelemetry has one of that meaning."""
    help: str
    state: str | None = None
    """The value of the label of that name, where one metric has several figures."""


GAUGES = (
    Figure("in_use", "db_client_connection_count", "Open connections by state.", "used"),
    Figure("idle", "db_client_connection_count", "Open connections by state.", "idle"),
    Figure("max", "db_client_connection_max", "Most connections at once."),
    Figure("size", "db_client_connection_idle_max", "Connections kept when idle (pool_size)."),
    Figure("waiting", "db_client_connection_pending_requests", "Callers that wait."),
    Figure("processes", "poolrouter_processes", "Live processes that have opened the pool."),
    Figure("peak_open", "poolrouter_connection_peak_open", "Most that were open at once."),
    Figure("open", "poolrouter_connection_open", "Open connections, used and idle."),
    Figure("overflow", "poolrouter_connection_overflow", "Open connections above pool_size."),
    Figure("opening", "poolrouter_connection_opening", "Connections being opened."),
    Figure(
        "oldest_wait_s",
        "poolrouter_connection_oldest_wait_seconds",
        "How long the first in a queue waits.",
    ),
    Figure(
        "oldest_use_s",
        "poolrouter_connection_oldest_use_seconds",
        "The longest lease under way.",
    ),
    Figure(
        "p95_wait_s",
        "poolrouter_connection_p95_wait_seconds",
        "Within what time 95 % of the callers were served, since the first process started.",
    ),
)
# Counters, whose names end in `_total` when they are exported.
COUNTERS = (
    Figure("timeouts", "db_client_connection_timeouts", "Callers that gave up waiting."),
    Figure("ended_processes", "poolrouter_processes_ended", "Processes that used it and ended."),
    Figure("checkouts", "poolrouter_connection_checkouts", "Leases given."),
    Figure("waits", "poolrouter_connection_waits", "Leases that had to wait."),
    Figure("refused", "poolrouter_connection_refused", "Callers refused by max_waiting."),
    Figure("connects", "poolrouter_connection_connects", "Connections opened."),
    Figure("connect_errors", "poolrouter_connection_connect_errors", "Failed to open."),
    Figure("closes", "poolrouter_connection_closes", "Connections closed, for any reason."),
    Figure("lost", "poolrouter_connection_lost", "Connections found dead."),
    Figure(
        "recycled", "poolrouter_connection_recycled", "Closed because of age, idleness or reset."
    ),
    Figure("cleared", "poolrouter_connection_cleared", "Closed because all were replaced."),
    Figure("leaks", "poolrouter_connection_leaks", "Leases reported as held too long."),
)


class PoolCollector(Collector):
    """Reads the report of the host at each scrape; keeps nothing itself."""

    def collect(self) -> Iterable[Metric]:
        """Return all metrics with the figures of this moment."""
        return list(_metrics(document(collect())))

    def describe(self) -> Iterable[Metric]:
        """Return all metrics without figures, so that registering reads nothing."""
        return list(_metrics({"pools": [], "wait_bounds_s": ()}))


def register(registry: CollectorRegistry = REGISTRY) -> None:
    """Add the pools to what a registry exports, by default to prometheus_client's own."""
    registry.register(PoolCollector())


def metrics(request: HttpRequest) -> HttpResponse:
    """Answer a scrape with the metrics of the pools alone, in the format that it asks for."""
    registry = CollectorRegistry()
    register(registry)
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return HttpResponse(encode(registry), content_type=content_type)


def _metrics(told: Mapping[str, Any]) -> Iterator[Metric]:
    pools = told["pools"]
    yield from _families(GAUGES, GaugeMetricFamily, pools)
    yield from _families(COUNTERS, CounterMetricFamily, pools)
    yield _waits(pools, told["wait_bounds_s"])
    yield _states(pools)
    facts = InfoMetricFamily("poolrouter_pool", "What a pool is.", labels=LABELS)
    for pool in pools:
        facts.add_metric(_labels(pool), {name: pool[name] for name in FACTS})
    yield facts


def _waits(pools: list[Mapping[str, Any]], bounds: Iterable[float]) -> Metric:
    """Return how long all callers waited: some not at all, some in vain."""
    metric = HistogramMetricFamily(WAIT_TIME, "Waits for a connection.", labels=LABELS)
    names = [*map(str, bounds), "+Inf"]
    for pool in pools:
        at_once = max(0, pool["checkouts"] - pool["waits"])
        reached = [at_once + count for count in accumulate(pool["wait_buckets"])]
        buckets = list(zip(names, reached, strict=True))
        metric.add_metric(_labels(pool), buckets, sum_value=pool["waited_s"])
    return metric


def _states(pools: list[Mapping[str, Any]]) -> Metric:
    metric = GaugeMetricFamily(
        "poolrouter_pool_state", "1 for the state that it is in.", labels=[*LABELS, "state"]
    )
    for pool in pools:
        for state in STATES:
            metric.add_metric([*_labels(pool), state], pool["state"] == state)
    return metric


def _families(
    figures: tuple[Figure, ...],
    family: Callable[..., GaugeMetricFamily | CounterMetricFamily],
    pools: list[Mapping[str, Any]],
) -> Iterator[Metric]:
    found: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
    for figure in figures:
        extra = [] if figure.state is None else [figure.state]
        metric = found.setdefault(
            figure.name,
            family(figure.name, figure.help, labels=[*LABELS, *(["state"] if extra else [])]),
        )
        for pool in pools:
            if pool[figure.key] is not None:
                metric.add_metric([*_labels(pool), *extra], pool[figure.key])
    yield from found.values()


def _labels(pool: Mapping[str, Any]) -> list[str]:
    return [pool[name] or "" for name in LABELS]
