"""Far more threads than connections, none of which keeps one while it sleeps."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, transaction

from django_poolrouter import pools
from tests.conftest import Vendor
from tests.contract.numbers import create_table, select

pytestmark = pytest.mark.stress

THREADS = 200
ROUNDS = 4
SESSIONS = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND backend_type = 'client backend'",
    "mariadb": "SELECT count(*) FROM information_schema.processlist WHERE db = DATABASE()",
}


def test_two_hundred_threads__work_on_five_connections(server: Vendor, use_databases: Any) -> None:
    pool = {"pool_size": 5, "max_overflow": 0, "pool_timeout": 60, "hold": "transaction"}
    use_databases({"default": server.database(pool)})
    create_table()
    start = threading.Barrier(THREADS)

    def work(number: int) -> int:
        start.wait()
        most = 0
        for turn in range(ROUNDS):
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("INSERT INTO numbers VALUES (%s)", [number * ROUNDS + turn])
                time.sleep(0.0001)
            with connection.cursor() as cursor:
                cursor.execute(SESSIONS[server.name])
                most = max(most, cursor.fetchone()[0])
            assert connection.connection is None
            time.sleep(0.05)
        return most

    with ThreadPoolExecutor(THREADS) as executor:
        most = max(executor.map(work, range(THREADS)))
    assert select() == list(range(THREADS * ROUNDS))
    status = pools["default"].status()
    assert most <= 5
    assert (status.connects, status.timeouts, status.checkedout) == (5, 0, 0)
