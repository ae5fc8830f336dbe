"""200 threads that sleep 50 ms between queries, on 5 connections and on 200.

On 200, ``hold`` "transaction" tells what the lack of connections costs; "request" has each thread
keep its own, so that it also tells what the checkouts cost.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.rounds import compare, ratio, verdict

THREADS = 200
SLEEP = 0.05
SECONDS = 2.0
ROUNDS = 7
ENGINES = {
    "postgresql": "django_poolrouter.backends.postgresql",
    "mariadb": "django_poolrouter.backends.mysql",
}
POOLS = {
    "on 5": {"pool_size": 5, "max_overflow": 0, "hold": "transaction"},
    "on 200": {"pool_size": THREADS, "max_overflow": 0, "hold": "transaction"},
    "on 200 of their own": {"pool_size": THREADS, "max_overflow": 0, "hold": "request"},
}


def lines(vendor: str, server: dict[str, str]) -> Iterator[str]:
    """Measure the pools in alternating runs, each in a process of its own."""

    def run(pool: dict[str, Any]) -> float:
        database = {**server, "ENGINE": ENGINES[vendor], "OPTIONS": {"pool": pool}}
        command = [sys.executable, "-m", "benchmarks.hold", json.dumps(database)]
        return float(subprocess.check_output(command, text=True))

    rates = compare({name: lambda p=pool: run(p) for name, pool in POOLS.items()}, ROUNDS)
    for name, found in rates.items():
        yield f"      {vendor}, {name}: {statistics.median(found):.0f} queries/s"
    own = ratio(rates["on 5"], rates["on 200 of their own"])
    yield f"      {vendor}, speed on 5 of that on a connection for each thread: {own:.2f}"
    speed = ratio(rates["on 5"], rates["on 200"])
    yield verdict(f"{vendor}, speed on 5 connections of that on 200", speed, 0.9, at_least=True)


def rate(database: dict[str, Any]) -> float:
    """Return how many queries per second the threads make together."""
    import django
    from django.conf import settings

    settings.configure(
        DATABASES={"default": database},
        INSTALLED_APPS=["django_poolrouter"],
        SECRET_KEY="for the benchmark",
    )
    django.setup()
    from django.db import connection

    done = [0] * THREADS
    start = threading.Barrier(THREADS + 1)
    stop = threading.Event()

    def query() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()

    def work(number: int) -> None:
        query()  # opens what there is to open
        start.wait()
        while not stop.is_set():
            query()
            done[number] += 1
            time.sleep(SLEEP)
        connection.close()

    threads = [threading.Thread(target=work, args=[number]) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.perf_counter()
    time.sleep(SECONDS)
    found = sum(done) / (time.perf_counter() - began)
    stop.set()
    for thread in threads:
        thread.join()
    return round(found)


if __name__ == "__main__":
    print(rate(json.loads(sys.argv[1])))
