"""One cluster on real servers, whose replicas fall behind on demand."""

from __future__ import annotations

from typing import Any

from django.core.management import call_command
from django.db import connections

from tests.servers import Cluster
from tests.support.databases import ENGINES
from tests.support.testapp.shop.models import Author
from tests.support.waiting import eventually

# What stops it, what asks for that, and the answer when it has stopped.
STOPPED = {
    "postgresql": (
        "SELECT pg_wal_replay_pause()",
        "SELECT pg_get_wal_replay_pause_state()",
        "paused",
    ),
    "mariadb": (
        "STOP SLAVE SQL_THREAD",
        "SELECT count(*) FROM information_schema.processlist WHERE command = 'Slave_SQL'",
        "0",
    ),
}
START = {"postgresql": "SELECT pg_wal_replay_resume()", "mariadb": "START SLAVE SQL_THREAD"}


class Shop:
    """A cluster of which a test may stop or break replicas, and one row."""

    def __init__(self, kind: str, servers: Cluster, name: str = "shop") -> None:
        self.kind = kind
        self.servers = servers
        self.name = name

    def databases(self, pool: Any = None, **router: Any) -> dict[str, Any]:
        replica = {"REPLICA_OF": "default"}
        return {
            "default": self._database("primary", pool, router),
            **{alias: self._database(alias, pool, replica) for alias in self.servers.replicas},
        }

    def _database(self, node: str, pool: Any, router: dict[str, Any]) -> dict[str, Any]:
        return {
            "ENGINE": ENGINES[self.kind],
            **self.servers.settings(node, self.name),
            "ROUTER": router,
            "OPTIONS": {"pool": pool or True},
        }

    def seed(self) -> None:
        self.servers.create_database(self.name)
        call_command("migrate", run_syncdb=True, verbosity=0)
        Author.objects.create(name="Ada")
        connections.close_all()
        self.servers.wait_for_replicas()

    def fall_behind(self, replica: str) -> None:
        """Let a replica show nothing that is written from now on."""
        stop, state, stopped = STOPPED[self.kind]
        self.servers.sql(replica, stop)
        eventually(lambda: self.servers.sql(replica, state) == stopped)

    def catch_up(self, replica: str) -> None:
        self.servers.sql(replica, START[self.kind])
