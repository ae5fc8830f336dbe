"""Threads visit every tenant; each statement must find the visited tenant's rows."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.integration.packages.tenants import project

THREADS = 6
GONE_WITHIN = 5.0
"""Seconds that the server may take to end a session whose client has left."""


def visit(tenant: str, other: str) -> list[tuple[str, str]]:
    """Return pairs: the tenant, and the tenant whose rows were seen."""
    from django.db import close_old_connections, connection, transaction
    from django_tenants.utils import schema_context

    seen = []

    def look(expected: str = tenant) -> None:
        seen.append((expected, owner()))

    connection.set_schema(tenant)
    look()
    look()
    with transaction.atomic():
        look()
        look()
    look()
    with schema_context(other):
        look(other)
    look()
    connection.close()
    look()  # A long task goes on after it closed its connection.
    close_old_connections()
    look()
    connection.close()
    return seen


def owner() -> str:
    from django.db import DatabaseError, connection

    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT owner FROM secret")
            return str(cursor.fetchone()[0])
    except DatabaseError as error:
        return type(error).__name__


class Sessions(threading.Thread):
    """Watches how many sessions the pools have on the server."""

    def __init__(self, database: dict[str, Any], limit: int) -> None:
        super().__init__(daemon=True)
        self.database = database
        self.limit = limit
        self.most = 0
        self.over = threading.Event()

    def run(self) -> None:
        with project.beside(self.database) as raw:
            while not self.over.wait(0.005):
                self.most = max(self.most, self._settled(raw))

    def _settled(self, raw: Any) -> int:
        """Return the number of sessions, without those that the server is about to end."""
        deadline = time.monotonic() + GONE_WITHIN
        least = count = self._count(raw)
        while count > self.limit and time.monotonic() < deadline and not self.over.is_set():
            least = min(least, count := self._count(raw))
        return int(least)

    def _count(self, raw: Any) -> int:
        [[count]] = raw.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s",
            [project.APPLICATION],
        )
        return int(count)


def main() -> dict[str, Any]:
    order = project.order()
    project.set_up(order)
    tenants = order["tenants"]
    pool = order["pool"]
    sessions = Sessions(order["database"], pool["pool_size"] + pool["max_overflow"])
    sessions.start()
    start = threading.Barrier(THREADS)

    def work(number: int) -> list[tuple[str, str]]:
        shuffled = random.Random(number).sample(tenants, len(tenants))
        start.wait()
        return [
            pair
            for tenant, other in zip(shuffled, shuffled[1:] + shuffled[:1], strict=True)
            for pair in visit(tenant, other)
        ]

    with ThreadPoolExecutor(THREADS) as executor:
        seen = [pair for pairs in executor.map(work, range(THREADS)) for pair in pairs]
    sessions.over.set()
    sessions.join()
    wrong = Counter(
        found if found not in tenants else "rows of another tenant"
        for expected, found in seen
        if expected != found
    )
    return {
        "answers": len(seen),
        "wrong": wrong,
        "pools": project.pools_made(),
        "sessions": sessions.most,
        "leases": project.leases_out(),
    }


if __name__ == "__main__":
    print(json.dumps(main()))
