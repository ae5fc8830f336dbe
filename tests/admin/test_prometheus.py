"""The exporter: every figure, in every process alike, as Prometheus reads it."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from django_poolrouter.contrib.prometheus import COUNTERS, FACTS, GAUGES, LABELS, register
from django_poolrouter.status.document import document
from django_poolrouter.status.report import collect
from tests.admin.workers import Project

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def scrape(accept: str = "text/plain") -> str:
    response = Client().get("/metrics", headers={"accept": accept})
    assert response.status_code == 200
    assert response["Content-Type"].startswith(accept.split(";")[0])
    return response.content.decode()


def samples(text: str, parse: Any = parse_text) -> dict[tuple[str, str, str], float]:
    """Return value by name, alias and state of each sample."""
    found = {}
    for family in parse(text):
        for sample in family.samples:
            key = (sample.name, sample.labels["alias"], sample.labels.get("state", ""))
            assert key not in found
            found[key] = sample.value
    return found


@pytest.mark.parametrize(
    ("accept", "parse"), [("text/plain", parse_text), (OPENMETRICS, parse_openmetrics)]
)
def test_scrape__carries_every_figure_of_the_document(
    project: Project, accept: str, parse: Any
) -> None:
    project.worker().do("take", "take", "take", "give", "wait")
    project.worker().do("take")
    told = document(collect())["pools"]
    found = samples(scrape(accept), parse)
    for pool in told:
        figures = {figure.key: figure for figure in (*GAUGES, *COUNTERS)}
        unknown = pool.keys() - figures.keys() - {*LABELS, *FACTS}
        assert not unknown, f"not exported: {unknown}"
        for key, figure in figures.items():
            name = figure.name + ("_total" if figure in COUNTERS else "")
            value = found.pop((name, pool["alias"], figure.state or ""))
            if key.startswith("oldest"):
                assert value >= pool[key]  # it went on
            else:
                assert value == pool[key], key
        assert found.pop(("poolrouter_pool_info", pool["alias"], "")) == 1
    assert not found


def test_scrape__is_of_all_processes_whoever_answers(project: Project) -> None:
    for _ in range(2):
        project.worker().do("take", "take", "give")
    found = samples(scrape())
    assert found["poolrouter_processes", "shop", ""] == 2
    assert found["db_client_connection_count", "shop", "used"] == 2
    assert found["db_client_connection_count", "shop", "idle"] == 2
    assert found["db_client_connection_max", "shop", ""] == 6
    assert found["poolrouter_connection_checkouts_total", "shop", ""] == 4


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
