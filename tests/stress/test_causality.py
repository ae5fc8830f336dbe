"""Users write and read back through several web processes while replicas fall behind.

CAUSALITY_SECONDS says for how long; STRESS_SEED repeats what users and weather wanted to do.
"""

from __future__ import annotations

import os
import random
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections

from tests.servers import Cluster, MariadbCluster, PostgresqlCluster
from tests.servers.fixtures import started
from tests.stress.users import USERS, Read, User, users_at_work, web_processes
from tests.support.databases import ENGINES, configured
from tests.support.testapp.shop.models import Author
from tests.support.testapp.site import PORT

pytestmark = [pytest.mark.stress, pytest.mark.slow]

SECONDS = float(os.environ.get("CAUSALITY_SECONDS", "5"))
# From the end of a disturbance until the weather counts as calm: replicas catch up, and the
# processes look again.
SETTLED = 0.5
REPLICAS = ("replica1", "replica2")
STOP = {
    "postgresql": ("SELECT pg_wal_replay_pause()", "SELECT pg_wal_replay_resume()"),
    "mariadb": ("STOP SLAVE SQL_THREAD", "START SLAVE SQL_THREAD"),
}
# Once a transaction is committed without waiting for its record to be written.
ASYNCHRONOUS = {"postgresql": {"options": "-c synchronous_commit=off"}, "mariadb": {}}


class Replicated:
    """A cluster of its own with two replicas, and a row for each user."""

    def __init__(self, kind: str, servers: Cluster) -> None:
        self.kind = kind
        self.servers = servers
        servers.create_database("site")

    def databases(self, **options: Any) -> dict[str, Any]:
        entries: dict[str, Any] = {"default": {}}
        entries.update({alias: {"REPLICA_OF": "default"} for alias in REPLICAS})
        nodes = {"default": "primary", **{alias: alias for alias in REPLICAS}}
        return {
            alias: {
                "ENGINE": ENGINES[self.kind],
                **self.servers.settings(node, "site"),
                "ROUTER": entries[alias],
                "OPTIONS": {"pool": {"pool_size": 10}, **options},
            }
            for alias, node in nodes.items()
        }

    def seed(self) -> None:
        with configured(self.databases()):
            call_command("migrate", run_syncdb=True, verbosity=0)
            Author.objects.all().delete()
            Author.objects.bulk_create(Author(pk=n, name="0") for n in range(1, USERS + 1))
            connections.close_all()
        self.servers.wait_for_replicas()

    def fall_behind(self, replica: str) -> None:
        self.servers.sql(replica, STOP[self.kind][0])

    def catch_up(self, replica: str) -> None:
        self.servers.sql(replica, STOP[self.kind][1])

    def is_replica(self, port: int) -> bool:
        return port != self.servers.ports["primary"]


@pytest.fixture(scope="module", params=["postgresql", "mariadb"])
def replicated(request: pytest.FixtureRequest, django_db_blocker: Any) -> Iterator[Replicated]:
    cluster = {"postgresql": PostgresqlCluster, "mariadb": MariadbCluster}[request.param](2)
    with started(cluster) as servers, django_db_blocker.unblock():
        yield Replicated(request.param, servers)


@pytest.fixture
def seed() -> int:
    seed = int(os.environ.get("STRESS_SEED") or secrets.randbelow(10**9))
    print(f"STRESS_SEED={seed}")
    return seed


@dataclass
class Weather:
    """Lets replicas fall behind at random, and remembers when it was calm."""

    site: Replicated
    seed: int
    calm: list[tuple[float, float]] = field(default_factory=list)

    def blow(self, until: float) -> None:
        dice = random.Random(self.seed)
        while time.monotonic() < until:
            began = time.monotonic() + SETTLED
            time.sleep(SETTLED + 0.3 + dice.random())
            self.calm.append((began, time.monotonic()))
            chosen = dice.choice([REPLICAS[:1], REPLICAS[1:], REPLICAS])
            for replica in chosen:
                self.site.fall_behind(replica)
            time.sleep(0.2 + dice.random())
            for replica in chosen:
                self.site.catch_up(replica)

    def was_calm(self, read: Read) -> bool:
        return any(begin <= read.when < end for begin, end in self.calm)


def reads_of(users: list[User]) -> list[Read]:
    assert [failure for user in users for failure in user.failures] == []
    return [read for user in users for read in user.reads]


@contextmanager
def site_at_work(
    site: Replicated, seconds: float, seed: int, routing: dict[str, Any], **options: Any
) -> Iterator[list[User]]:
    site.seed()
    asked = {"databases": site.databases(**options), "routing": routing, "port": PORT[site.kind]}
    with web_processes(**asked) as ports, users_at_work(ports, seconds, seed) as users:
        yield users


@pytest.mark.parametrize("commit", ["synchronous", "asynchronous"])
def test_users__always_see_what_they_wrote(replicated: Replicated, seed: int, commit: str) -> None:
    if commit == "asynchronous" and replicated.kind == "mariadb":
        pytest.skip("MariaDB has one way to commit")
    options = ASYNCHRONOUS[replicated.kind] if commit == "asynchronous" else {}
    weather = Weather(replicated, seed)
    with site_at_work(replicated, SECONDS, seed, {}, **options) as users:
        weather.blow(time.monotonic() + SECONDS)
    reads = reads_of(users)
    calm = [read for read in reads if weather.was_calm(read)]
    share = sum(replicated.is_replica(read.port) for read in calm) / len(calm)
    everywhere = sum(replicated.is_replica(read.port) for read in reads) / len(reads)
    print(f"{len(reads)} reads, {everywhere:.0%} on replicas; {share:.0%} of {len(calm)} calm ones")
    assert [read for read in reads if read.is_stale] == []
    assert share >= 0.7
    assert {read.port for read in calm} >= {replicated.servers.ports[r] for r in REPLICAS}


def test_users__see_old_data_where_a_pin_is_shorter_than_the_lag(
    replicated: Replicated, seed: int
) -> None:
    """The test above can fail."""
    routing = {"READ_YOUR_WRITES": "pin", "PIN_SECONDS": 0.2}
    with site_at_work(replicated, 3, seed, routing) as users:
        time.sleep(0.5)
        for replica in REPLICAS:
            replicated.fall_behind(replica)
        time.sleep(2)
        for replica in REPLICAS:
            replicated.catch_up(replica)
    assert any(read.is_stale for read in reads_of(users))
