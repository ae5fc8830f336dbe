"""What other processes see of a replica that one process reads from."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import Vendor
from tests.servers import Cluster, FaultProxy
from tests.support.databases import ENGINES
from tests.support.host import Host
from tests.support.waiting import eventually

STOP = {
    "postgresql": ("SELECT pg_wal_replay_pause()", "SELECT pg_wal_replay_resume()"),
    "mariadb": ("STOP SLAVE SQL_THREAD", "START SLAVE SQL_THREAD"),
}


@pytest.fixture
def servers(server: Vendor, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The servers of the kind, which replicate again afterwards."""
    servers: Cluster = request.getfixturevalue(server.name)
    yield servers
    servers.sql("replica1", STOP[server.name][1])
    servers.wait_for_replicas()


@pytest.fixture
def proxy(servers: Cluster, fault_proxy: Callable[[int], FaultProxy]) -> FaultProxy:
    """The way to the replica."""
    return fault_proxy(servers.ports["replica1"])


@pytest.fixture
def host(proxy: FaultProxy, host: Host, server: Vendor) -> Host:
    """A project whose `unopened` is a replica on a server of its own.

    Its workers end before the proxy does, which they would try to reach.
    """
    entry = {"ENGINE": ENGINES[server.name], **server.settings}
    host.environment |= {
        "SERVER": json.dumps(entry),
        "REPLICA": json.dumps({**entry, "PORT": str(proxy.port)}),
        "POOLROUTER": json.dumps({"ROUTING": {"MAX_LAG": 1}}),
    }
    return host


def replica(host: Host) -> dict[str, Any]:
    return next(pool for pool in host.status()["pools"] if pool["alias"] == "unopened")


def test_lag__is_told_by_who_reads_from_the_replica(
    host: Host, servers: Cluster, server: Vendor
) -> None:
    assert (replica(host)["health"], replica(host)["lag_s"]) == (None, None)
    worker = host.worker()
    assert worker.ask("read") == "unopened"
    eventually(lambda: (replica(host)["health"], replica(host)["lag_s"]) == ("up", 0.0))
    [process] = host.status()["processes"]
    lags = {pool["alias"]: (pool["health"], pool["lag_s"]) for pool in process["pools"]}
    assert lags == {"default": (None, None), "unopened": ("up", 0.0)}

    servers.sql("replica1", STOP[server.name][0])
    worker.do("take", "run CREATE TABLE lag (n integer)", "run DROP TABLE lag")
    found = eventually(lambda: (pool := replica(host))["lag_s"] and pool["lag_s"] > 1 and pool)
    assert (found["health"], found["state"]) == ("lagging", "lagging")
    line = next(x for x in host.run("poolstatus").stdout.splitlines() if x.startswith("unopened"))
    assert line.endswith("lagging")
    servers.sql("replica1", STOP[server.name][1])
    eventually(lambda: (replica(host)["state"], replica(host)["lag_s"]) == ("ok", 0.0))


def test_replica_that_fails__is_told_to_be_ejected_and_back(host: Host, proxy: FaultProxy) -> None:
    host.worker().ask("read")
    eventually(lambda: replica(host)["health"] == "up")
    proxy.mode = "reject"
    proxy.drop()
    eventually(lambda: replica(host)["health"] == "ejected")
    assert replica(host)["state"] == "ejected"
    proxy.mode = "pass"
    eventually(lambda: replica(host)["health"] == "up", 20)


def test_worst__of_all_processes_counts(host: Host, proxy: FaultProxy) -> None:
    stopped, alive = host.worker(), host.worker()
    for worker in (stopped, alive):
        worker.ask("read")
    eventually(lambda: [process_health(host, w.pid) for w in (stopped, alive)] == ["up"] * 2)
    proxy.mode = "reject"
    proxy.drop()
    eventually(lambda: [process_health(host, w.pid) for w in (stopped, alive)] == ["ejected"] * 2)
    os.kill(stopped.pid, signal.SIGSTOP)
    try:
        proxy.mode = "pass"
        eventually(lambda: process_health(host, alive.pid) == "up", 20)
        assert replica(host)["state"] == "ejected"
    finally:
        os.kill(stopped.pid, signal.SIGCONT)


def process_health(host: Host, pid: int) -> str | None:
    [process] = [process for process in host.status()["processes"] if process["pid"] == pid]
    health: str | None
    [health] = [pool["health"] for pool in process["pools"] if pool["alias"] == "unopened"]
    return health
