"""The exporter: every figure, in every process alike, as Prometheus reads it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from django.test import Client
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from django_poolrouter.contrib.prometheus import (
    COUNTERS,
    FACTS,
    GAUGES,
    LABELS,
    WAIT_TIME,
    register,
)
from django_poolrouter.pooling.histogram import WAIT_BOUNDS
from django_poolrouter.status.document import document
from django_poolrouter.status.report import STATES, collect
from tests.admin.workers import Project
from tests.databases import eventually

# Not figures of their own: the state has a metric, the waits a histogram.
ELSEWHERE = ("state", "wait_buckets", "waited_s")
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def scrape(accept: str = "text/plain") -> str:
    response = Client().get("/metrics", headers={"accept": accept})
    assert response.status_code == 200
    assert response["Content-Type"].startswith(accept.split(";")[0])
    return response.content.decode()


def samples(text: str, parse: Any = parse_text) -> dict[tuple[str, str, str], float]:
    """Return value by name, alias and state or bound of each sample."""
    found = {}
    for family in parse(text):
        for sample in family.samples:
            more = sample.labels.get("state") or sample.labels.get("le", "")
            key = (sample.name, sample.labels["alias"], more)
            assert key not in found
            found[key] = sample.value
    return found


@pytest.mark.parametrize(
    ("accept", "parse"), [("text/plain", parse_text), (OPENMETRICS, parse_openmetrics)]
)
def test_scrape__carries_every_figure_of_the_document(
    project: Project, accept: str, parse: Any
) -> None:
    waiting = project.worker().do("take", "take", "take", "wait", "give")
    eventually(lambda: document(collect())["pools"][0]["waits"])
    waiting.do("wait")
    project.worker().do("take")
    told = document(collect())["pools"]
    found = samples(scrape(accept), parse)
    figures = {figure.key: figure for figure in (*GAUGES, *COUNTERS)}
    for pool in told:
        unknown = pool.keys() - figures.keys() - {*LABELS, *FACTS, *ELSEWHERE}
        assert not unknown, f"not exported: {unknown}"
        for key, figure in figures.items():
            name = figure.name + ("_total" if figure in COUNTERS else "")
            value = found.pop((name, pool["alias"], figure.state or ""))
            if key.startswith("oldest"):
                assert value >= pool[key]  # it went on
            else:
                assert value == pool[key], key
        assert found.pop(("poolrouter_pool_info", pool["alias"], "")) == 1
        for state in STATES:
            value = found.pop(("poolrouter_pool_state", pool["alias"], state))
            assert value == (state == pool["state"])
        check_waits(pool, found)
    assert not found


def check_waits(pool: dict[str, Any], found: dict[tuple[str, str, str], float]) -> None:
    """Take the histogram out of what was found, and compare it with the document."""
    at_once = pool["checkouts"] - pool["waits"]
    callers = at_once + sum(pool["wait_buckets"])
    assert found.pop((f"{WAIT_TIME}_sum", pool["alias"], "")) == pool["waited_s"]
    assert found.pop((f"{WAIT_TIME}_count", pool["alias"], "")) == callers
    bounds = [*map(str, WAIT_BOUNDS), "+Inf"]
    reached = [found.pop((f"{WAIT_TIME}_bucket", pool["alias"], bound)) for bound in bounds]
    waits = [b - a for a, b in pairwise([at_once, *reached])]
    assert waits == list(pool["wait_buckets"])


def test_scrape__is_of_all_processes_whoever_answers(project: Project) -> None:
    for _ in range(2):
        project.worker().do("take", "take", "give")
    found = samples(scrape())
    assert found["poolrouter_processes", "shop", ""] == 2
    assert found["db_client_connection_count", "shop", "used"] == 2
    assert found["db_client_connection_count", "shop", "idle"] == 2
    assert found["db_client_connection_max", "shop", ""] == 6
    assert found["poolrouter_connection_checkouts_total", "shop", ""] == 4


def test_counters__outlive_their_process(project: Project) -> None:
    worker = project.worker().do("take", "give", "take")
    before = samples(scrape())
    worker.end()
    after = samples(scrape())
    assert after["poolrouter_processes", "shop", ""] == 0
    assert after["poolrouter_processes_ended_total", "shop", ""] == 1
    for key, value in before.items():
        if key[0].startswith(WAIT_TIME) or key[0].endswith("_total"):
            assert after[key] >= value, key


def test_scrape__tells_what_a_pool_is(project: Project) -> None:
    labels = {
        sample.labels["alias"]: sample.labels
        for family in parse_text(scrape())
        for sample in family.samples
        if sample.name == "poolrouter_pool_info"
    }
    assert labels["replica"] == {
        "alias": "replica",
        "role": "replica",
        "cluster": "shop",
        "vendor": "sqlite",
        "profile": "production",
    }


def test_register__adds_the_pools_to_a_registry_without_reading_them(project: Project) -> None:
    registry = CollectorRegistry(auto_describe=True)
    register(registry)
    project.worker().do("take")
    found = samples(generate_latest(registry).decode())
    assert found["db_client_connection_count", "shop", "used"] == 1
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        register(registry)
