"""What a request costs through Django, each contestant in a process of its own.

A "request" is what Django does around a view: ``ensure_connection()``, the view's work, then
``close_if_unusable_or_obsolete()``.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.rounds import ratio, verdict
from benchmarks.turns import TurnCounter

FOUR = {"pool_size": 4, "max_overflow": 0}
NATIVE = {"min_size": 4, "max_size": 4}
CONTESTANTS: dict[str, dict[str, dict[str, Any]]] = {
    "postgresql": {
        "persistent": {"ENGINE": "django.db.backends.postgresql", "CONN_MAX_AGE": None},
        "native": {"ENGINE": "django.db.backends.postgresql", "OPTIONS": {"pool": NATIVE}},
        "ours": {
            "ENGINE": "django_poolrouter.backends.postgresql",
            "OPTIONS": {"pool": FOUR | {"pool_pre_ping": False}},
        },
        "ours+ping": {
            "ENGINE": "django_poolrouter.backends.postgresql",
            "OPTIONS": {"pool": FOUR | {"pool_pre_ping": True}},
        },
    },
    "mariadb": {
        "persistent": {"ENGINE": "django.db.backends.mysql", "CONN_MAX_AGE": None},
        "djdbpool": {
            "ENGINE": "dj_db_conn_pool.backends.mysql",
            "POOL_OPTIONS": {"POOL_SIZE": 4, "MAX_OVERFLOW": 0},
        },
        "ours": {"ENGINE": "django_poolrouter.backends.mysql", "OPTIONS": {"pool": FOUR}},
    },
}
ROUNDS = 5


def lines(vendor: str, server: dict[str, str]) -> Iterator[str]:
    """Measure all contestants of a vendor in alternating runs."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in CONTESTANTS[vendor]}
    for _ in range(ROUNDS):
        for name, entry in CONTESTANTS[vendor].items():
            runs[name].append(_run({**server, **entry}))
    for name, found in runs.items():
        medians = {key: statistics.median(run[key] for run in found) for key in found[0]}
        yield f"      {vendor}, {name}: " + ", ".join(f"{k} {v:g}" for k, v in medians.items())
    yield from _verdicts(vendor, runs)


def _verdicts(vendor: str, runs: dict[str, list[dict[str, float]]]) -> Iterator[str]:
    def each(name: str, key: str) -> list[float]:
        return [run[key] for run in runs[name]]

    for key, limit in (("turns_select", 1.0), ("turns_atomic", 3.0)):
        yield verdict(f"{vendor}, {key}", statistics.median(each("ours", key)), limit)
    if vendor == "postgresql":
        cycles = each("ours", "cycle_us")
        yield verdict("of the native pool's time", ratio(cycles, each("native", "cycle_us")), 0.6)
        yield verdict("pre-ping on, of off", ratio(each("ours+ping", "cycle_us"), cycles), 1.1)


def _run(database: dict[str, Any]) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.through_django", json.dumps(database)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


# -- in the contestant's process -------------------------------------------------------


def measure(database: dict[str, Any]) -> dict[str, float]:
    """Return the figures of one contestant."""
    import django
    from django.conf import settings

    with TurnCounter(int(database["PORT"])) as counter:
        settings.configure(
            DATABASES={"default": database, "wired": {**database, "PORT": str(counter.port)}},
            INSTALLED_APPS=["django_poolrouter"],
            SECRET_KEY="for the benchmark",
            USE_TZ=True,
        )
        django.setup()
        from django.db import connections

        connection = connections["default"]

        def cycle() -> None:
            connection.ensure_connection()
            connection.close_if_unusable_or_obsolete()

        cycle()
        figures = {"cycle_us": min(_microseconds(cycle, 2000) for _ in range(5))}
        return figures | count_turns(counter)


def _microseconds(work: Callable[[], None], times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        work()
    return round((time.perf_counter() - began) / times * 1e6, 2)


def count_turns(counter: TurnCounter, requests: int = 50) -> dict[str, float]:
    """Return how often the client speaks after the server, in a request."""
    from django.db import connections, transaction

    connection = connections["wired"]

    def select() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()

    figures = {}
    works = {"turns_select": select, "turns_atomic": transaction.atomic("wired")(select)}
    for name, work in works.items():
        for warming in (True, False):
            before = counter.settled()
            for _ in range(requests):
                work()
                connection.close_if_unusable_or_obsolete()
            if not warming:
                figures[name] = round((counter.settled() - before) / requests, 2)
    return figures


if __name__ == "__main__":
    json.dump(measure(json.loads(sys.argv[1])), sys.stdout)
