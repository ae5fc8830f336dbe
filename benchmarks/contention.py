"""16 threads on 4 connections, each held for some 2 ms: throughput, fairness and waits.

Contestants are aliases of one process and take turns of half a second, there and back, on
connections that are open already: what it costs to open them is the spike's affair.
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

from benchmarks.rounds import ratio, verdict

THREADS, CONNECTIONS = 16, 4
POOL = {"pool_size": CONNECTIONS, "max_overflow": 0}
CONTESTANTS: dict[str, dict[str, dict[str, Any]]] = {
    "postgresql": {
        "native": {
            "ENGINE": "django.db.backends.postgresql",
            "OPTIONS": {"pool": {"min_size": CONNECTIONS, "max_size": CONNECTIONS}},
        },
        "ours": {"ENGINE": "django_poolrouter.backends.postgresql", "OPTIONS": {"pool": POOL}},
    },
    "mariadb": {
        "ours": {"ENGINE": "django_poolrouter.backends.mysql", "OPTIONS": {"pool": POOL}},
    },
}
SLEEP = {"postgresql": "SELECT pg_sleep(0.002)", "mysql": "SELECT SLEEP(0.002)"}
WARM_UP, SECONDS = 0.1, 0.5
ROUNDS = 20  # each there and back

Turn = dict[str, float]


def lines(vendor: str, server: dict[str, str]) -> Iterator[str]:
    """Measure the contestants of a vendor in a process of their own."""
    databases = {name: {**server, **entry} for name, entry in CONTESTANTS[vendor].items()}
    command = [sys.executable, "-m", "benchmarks.contention", json.dumps(databases)]
    turns: dict[str, list[Turn]] = json.loads(subprocess.check_output(command, text=True))

    def median(name: str, key: str) -> float:
        return statistics.median(turn[key] for turn in turns[name])

    for name in turns:
        figures = ", ".join(f"{key} {median(name, key):.4g}" for key in turns[name][0])
        yield f"      {vendor}, {name}: {figures}"
    if "native" in turns:
        rates = {name: [turn["requests_per_s"] for turn in found] for name, found in turns.items()}
        value = ratio(rates["ours"], rates["native"])
        yield verdict("of the native pool's throughput", value, 1.0, at_least=True)
    fairness = median("ours", "least_over_most")
    yield verdict(f"{vendor}, least over most work of 16 threads", fairness, 0.9, at_least=True)
    # Each waits for the 12 ahead of it, on 4 connections.
    ahead = (THREADS - CONNECTIONS) * 1e3
    waited = statistics.median(t["wait_p99_ms"] * t["requests_per_s"] for t in turns["ours"])
    yield verdict(f"{vendor}, p99 wait of the ideal", waited / ahead, 2.0)


# -- in the contestants' process -------------------------------------------------------


def measure(databases: dict[str, dict[str, Any]]) -> dict[str, list[Turn]]:
    """Return the figures of all turns of each contestant."""
    import django
    from django.conf import settings

    settings.configure(
        DATABASES={"default": {}, **databases},
        INSTALLED_APPS=["django_poolrouter"],
        SECRET_KEY="for the benchmark",
    )
    django.setup()
    found: dict[str, list[Turn]] = {alias: [] for alias in databases}
    for _ in range(ROUNDS):
        for alias in (*databases, *reversed(databases)):
            found[alias].append(contend(alias))
    return found


def contend(alias: str) -> Turn:
    """Let the threads work for a turn; what they do while they warm up does not count."""
    waits: list[float] = []
    counts: list[int] = []
    start = threading.Barrier(THREADS)

    def work() -> None:
        from django.db import connections

        connection = connections[alias]
        sql = SLEEP[connection.vendor]
        own: list[float] = []
        start.wait()
        since = time.perf_counter() + WARM_UP
        while (began := time.perf_counter()) < since + SECONDS:
            connection.ensure_connection()
            waited = time.perf_counter() - began
            with connection.cursor() as cursor:
                cursor.execute(sql)
                cursor.fetchall()
            connection.close_if_unusable_or_obsolete()
            if began >= since:
                own.append(waited)
        waits.extend(own)
        counts.append(len(own))
        connection.close()

    workers = [threading.Thread(target=work) for _ in range(THREADS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return {
        "requests_per_s": round(sum(counts) / SECONDS),
        "wait_p99_ms": round(statistics.quantiles(waits, n=100)[98] * 1e3, 2),
        "least_over_most": round(min(counts) / max(counts), 3),
    }


if __name__ == "__main__":
    json.dump(measure(json.loads(sys.argv[1])), sys.stdout)
