"""The threads that look at servers: when they start, look and end."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

import pytest

from django_poolrouter.routing import (
    Cluster,
    ClusterConfig,
    Monitor,
    NoReplica,
    Scope,
    ServerFailed,
)
from django_poolrouter.routing.balancers import round_robin
from django_poolrouter.routing.config import ReplicaConfig
from django_poolrouter.routing.surroundings import Surroundings
from tests.support.doubles import FakeServers
from tests.support.waiting import eventually


def cluster(servers: FakeServers | None) -> Cluster:
    config = ClusterConfig("default", (ReplicaConfig("r1"), ReplicaConfig("r2")))
    return Cluster(config, round_robin, Surroundings(servers=servers))


def threads() -> set[str]:
    prefix = "poolrouter-monitor-"
    return {t.name.removeprefix(prefix) for t in threading.enumerate() if t.name.startswith(prefix)}


def test_monitor__looks_at_all_servers_of_a_cluster_in_use() -> None:
    servers = FakeServers(default=1, r1=1, r2=ServerFailed("down"))
    mine, monitor = cluster(servers), Monitor(interval=0.001)
    monitor.note_use(mine)
    try:
        eventually(lambda: servers.asked.count("default") > 3 and servers.asked.count("r1") > 3)
        eventually(lambda: mine.health.state("r2") == "ejected")
    finally:
        monitor.stop(10)
    assert threads() == set()


def test_monitor__ends_when_nobody_reads_and_starts_again() -> None:
    servers = FakeServers(default=1, r1=1, r2=1)
    mine, monitor = cluster(servers), Monitor(interval=0.001, idle=0.0)
    for _ in range(2):
        servers.asked.clear()
        monitor.note_use(mine)
        eventually(lambda: "r1" in servers.asked)
        eventually(lambda: threads() == set())


@pytest.mark.parametrize("fallback", ["primary", "error"])
def test_monitor__starts_again_with_a_read_that_no_replica_qualifies_for(fallback: Any) -> None:
    """It does not run on a replica, and yet nobody else would ever find one well."""
    monitor = Monitor(interval=0.001, idle=0.0)
    servers = FakeServers(default=1, r1=1, r2=1)
    config = ClusterConfig("default", (ReplicaConfig("r1"),), fallback=fallback)
    mine = Cluster(
        config, round_robin, Surroundings(servers=servers), on_fall_back=monitor.note_use
    )
    mine.health.eject("r1")
    for read in (lambda: mine.decide_read(Scope(), lambda alias: False), mine.take_turn):
        servers.asked.clear()
        with suppress(NoReplica):
            read()
        eventually(lambda: "default" in servers.asked)
        eventually(lambda: threads() == set())


def test_monitor__survives_what_it_did_not_expect(caplog: object) -> None:
    servers = FakeServers(default=1, r1=1)  # and nothing of r2
    mine, monitor = cluster(servers), Monitor(interval=0.001)
    monitor.note_use(mine)
    try:
        eventually(lambda: servers.asked.count("r1") > 3)
        assert threads() == {"default", "r1", "r2"}
    finally:
        monitor.stop(10)


def test_cluster_that_cannot_be_asked__has_no_threads() -> None:
    monitor = Monitor()
    monitor.note_use(cluster(None))
    assert threads() == set()
