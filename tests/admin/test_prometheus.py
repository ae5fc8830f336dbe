"""The exporter: every figure, in every process alike, as Prometheus reads it."""

from __future__ import annotations

import fcntl
import json
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest
from django.test import Client
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from django_poolrouter.contrib import prometheus
from django_poolrouter.contrib.prometheus import (
    COUNTERS,
    ENDED,
    GAUGES,
    HOST,
    MARKED,
    PROCESS,
    PROCESSES,
    WAIT_TIME,
    WORDS,
    Level,
    register,
)
from django_poolrouter.pooling.histogram import WAIT_BOUNDS
from django_poolrouter.sql.marks import MARKS
from django_poolrouter.status.boards.replica_health import ReplicaState
from django_poolrouter.status.document import document
from django_poolrouter.status.report import Report, collect
from tests.support.host import Host
from tests.support.waiting import eventually

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
# What the document says besides figures: its own version, and what Prometheus adds itself,
# the time of the scrape and the instance.
NO_FIGURES = {"version", "generated_at", "host"}

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(accept: str = "text/plain", path: str = "/metrics") -> str:
    response = Client().get(path, headers={"accept": accept})
    assert response.status_code == 200
    assert response["Content-Type"].startswith(accept.split(";")[0])
    return response.content.decode()


def samples(text: str, parse: Any = parse_text) -> dict[tuple[str, str, str], float]:
    """Return value by name, alias and state or bound of each sample of all processes together."""
    found = {}
    for family in parse(text):
        for sample in family.samples:
            more = sample.labels.get("state") or sample.labels.get("le", "")
            if "role" in sample.labels:
                found[sample.name, sample.labels["alias"], more] = sample.value
    return found


@pytest.fixture
def troubled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the report be of a host where a replica lags and something could not be read."""

    def trouble() -> Report:
        report = collect()
        processes = tuple(
            replace(process, pools=tuple(map(lagging, process.pools)))
            for process in report.processes
        )
        pools = tuple(map(lagging, report.pools))
        return replace(report, pools=pools, processes=processes, warnings=("one", "two"))

    monkeypatch.setattr(prometheus, "collect", trouble)


def lagging(pool: Any) -> Any:
    return replace(pool, health=ReplicaState("lagging", 12.5)) if pool.alias == "replica" else pool


@pytest.mark.usefixtures("troubled")
@pytest.mark.parametrize(
    ("accept", "parse"), [("text/plain", parse_text), (OPENMETRICS, parse_openmetrics)]
)
def test_scrape__carries_every_figure_of_the_document(
    project: Host, accept: str, parse: Any
) -> None:
    waiting = project.worker().do("take", "take", "take", "wait", "give")
    eventually(lambda: document(collect())["pools"][0]["waits"])
    waiting.do("wait")
    project.worker().do("take", "on replica", "take", "take")
    told = json.loads(json.dumps(document(prometheus.collect())))
    found: Samples = {}
    for family in parse(scrape(accept)):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found
            found[key] = sample.value

    assert told.keys() == NO_FIGURES | {"pools", "processes", "wait_bounds_s", "warnings"}
    assert take(found, "poolrouter_warnings") == len(told["warnings"]) == 2
    assert told["wait_bounds_s"] == list(WAIT_BOUNDS)
    for pool in told["pools"]:
        for figure in (PROCESSES, ENDED):
            check_figure(pool, figure.key, HOST, found)
        rest = pool.keys() - {PROCESSES.key, ENDED.key}
        check_pool({key: pool[key] for key in rest}, HOST, found)
    for process in told["processes"]:
        assert process.keys() == {"id", "pid", "command", "started_at", "pools"}
        labels = {
            "process": process["id"],
            "pid": str(process["pid"]),
            "command": process["command"],
        }
        began = take(found, "poolrouter_process_start_time_seconds", **labels)
        assert began == datetime.fromisoformat(process["started_at"]).timestamp()
        for pool in process["pools"]:
            check_pool({**pool, "process": process["id"], "pid": process["pid"]}, PROCESS, found)
    assert not found, "nothing is made up"


def take(found: Samples, name: str, **labels: str) -> float:
    return found.pop((name, frozenset(labels.items())))


def check_pool(pool: dict[str, Any], level: Level, found: Samples) -> None:
    """Take all that is told of a pool out of what was found, and compare it."""
    labels = dict(zip(level.labels, level.values(pool), strict=True))
    facts = {fact: pool[fact] for fact in level.facts}
    assert take(found, level.name("poolrouter_pool") + "_info", **labels, **facts) == 1
    check_waits(pool, level, found)
    by_kind = {
        kind: take(found, f"{level.name(MARKED)}_total", **labels, kind=kind) for kind in MARKS
    }
    assert {kind: count for kind, count in by_kind.items() if count} == pool["marked_by"]
    assert sum(by_kind.values()) == pool["marked"]
    others = {"wait_buckets", "waited_s", "marked", "marked_by"}
    for key in pool.keys() - labels.keys() - facts.keys() - others:
        check_figure(pool, key, level, found)


def check_figure(pool: dict[str, Any], key: str, level: Level, found: Samples) -> None:
    everything = (*GAUGES, *COUNTERS, *WORDS, PROCESSES, ENDED)
    [figure] = [figure for figure in everything if figure.key == key]
    labels = dict(zip(level.labels, level.values(pool), strict=True))
    if pool[key] is None:  # nobody knows
        assert (key, pool["alias"]) in [("lag_s", "shop"), ("health", "shop")]
    elif figure in WORDS:
        for word in WORDS[figure]:
            value = take(found, level.name(figure.name), **labels, **{key: word})
            assert value == (word == pool[key])
    else:
        name = level.name(figure.name) + ("_total" if figure in (*COUNTERS, ENDED) else "")
        state = {"state": figure.state} if figure.state else {}
        value = take(found, name, **labels, **state)
        if key.startswith("oldest"):
            assert value >= pool[key]  # it went on
        else:
            assert value == pool[key], key


def check_waits(pool: dict[str, Any], level: Level, found: Samples) -> None:
    """Take the histogram out of what was found, and compare it with the document."""
    name = level.name(WAIT_TIME)
    labels = dict(zip(level.labels, level.values(pool), strict=True))
    at_once = pool["checkouts"] - pool["waits"]
    callers = at_once + sum(pool["wait_buckets"])
    assert take(found, f"{name}_sum", **labels) == pool["waited_s"]
    assert take(found, f"{name}_count", **labels) == callers
    bounds = [*map(str, WAIT_BOUNDS), "+Inf"]
    reached = [take(found, f"{name}_bucket", **labels, le=bound) for bound in bounds]
    waits = [b - a for a, b in pairwise([at_once, *reached])]
    assert waits == pool["wait_buckets"]


def test_scrape__tells_processes_apart_that_have_one_pid(project: Host) -> None:
    """As in containers that share the folder: each has a pid 1 of its own."""
    worker = project.worker().do("take")
    [board] = (project.folder / "boards").glob("*.board")
    other = board.with_name(f"{board.stem.rpartition('_')[0]}_ffffffff.board")
    other.write_bytes(board.read_bytes())
    with other.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # it lives
        found = [
            sample.labels["process"]
            for family in parse_text(scrape())
            for sample in family.samples
            if sample.name == "poolrouter_process_connection_open"
        ]
    assert sorted(found) == sorted([f"{worker.pid}_ffffffff", board.stem.rpartition("-")[2]])


def test_scrape__does_without_processes_where_asked_to(project: Host) -> None:
    worker = project.worker().do("take")
    assert f'pid="{worker.pid}"' in scrape()
    text = scrape(path="/metrics-of-host")
    assert "pid=" not in text
    assert "poolrouter_process_" not in text
    assert samples(text).keys() == samples(scrape()).keys()


def test_process__is_gone_from_the_metrics_when_it_ends(project: Host) -> None:
    worker = project.worker().do("take")
    worker.end()
    assert "pid=" not in scrape()


def test_scrape__is_of_all_processes_whoever_answers(project: Host) -> None:
    for _ in range(2):
        project.worker().do("take", "take", "give")
    found = samples(scrape())
    assert found["poolrouter_processes", "shop", ""] == 2
    assert found["db_client_connection_count", "shop", "used"] == 2
    assert found["db_client_connection_count", "shop", "idle"] == 2
    assert found["db_client_connection_max", "shop", ""] == 6
    assert found["poolrouter_connection_checkouts_total", "shop", ""] == 4


def test_counters__outlive_their_process(project: Host) -> None:
    worker = project.worker().do("take", "give", "take")
    before = samples(scrape())
    worker.end()
    after = samples(scrape())
    assert after["poolrouter_processes", "shop", ""] == 0
    assert after["poolrouter_processes_ended_total", "shop", ""] == 1
    for key, value in before.items():
        if key[0].startswith(WAIT_TIME) or key[0].endswith("_total"):
            assert after[key] >= value, key


def test_scrape__tells_what_a_pool_is(project: Host) -> None:
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


def test_register__adds_the_pools_to_a_registry_without_reading_them(project: Host) -> None:
    registry = CollectorRegistry(auto_describe=True)
    register(registry)
    project.worker().do("take")
    found = samples(generate_latest(registry).decode())
    assert found["db_client_connection_count", "shop", "used"] == 1
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        register(registry)
