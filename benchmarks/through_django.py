"""What a request costs through Django; contestants take turns of some milliseconds.

A "request" is what Django does around a view: ``ensure_connection()``, the view's work, then
``close_if_unusable_or_obsolete()``.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.rounds import compare, nanoseconds, ratio, verdict
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
# With Sentry installed, which patches Django's connect().
WITH_SENTRY = ("native", "ours")
RUNS = 5
ROUNDS, CYCLES = 30, 300  # of each run; of each contestant in a round

Figures = dict[str, dict[str, list[float]]]


def lines(vendor: str, server: dict[str, str]) -> Iterator[str]:
    """Measure the contestants of a vendor, which take turns, in several processes."""
    databases = {name: {**server, **entry} for name, entry in CONTESTANTS[vendor].items()}
    found = _figures(databases)
    yield from _medians(vendor, found)
    yield from _verdicts(vendor, found)
    if vendor == "postgresql":
        found = _figures({name: databases[name] for name in WITH_SENTRY}, "--sentry")
        yield from _medians(f"{vendor} with Sentry installed", found)
        native, ours = (found[name]["cycle_us"] for name in WITH_SENTRY)
        yield verdict("with Sentry installed, of the native pool's time", ratio(ours, native), 0.6)


def _figures(databases: dict[str, dict[str, Any]], *arguments: str) -> Figures:
    runs = [_run(databases, *arguments) for _ in range(RUNS)]
    return {
        name: {key: [x for run in runs for x in run[name][key]] for key in runs[0][name]}
        for name in databases
    }


def _medians(title: str, found: Figures) -> Iterator[str]:
    for name, figures in found.items():
        medians = {key: statistics.median(values) for key, values in figures.items()}
        yield f"      {title}, {name}: " + ", ".join(f"{k} {v:.4g}" for k, v in medians.items())


def _verdicts(vendor: str, found: Figures) -> Iterator[str]:
    for key, limit in (("turns_select", 1.0), ("turns_atomic", 3.0)):
        yield verdict(f"{vendor}, {key}", statistics.median(found["ours"][key]), limit)
    if vendor == "postgresql":
        native, ours, pinging = (found[n]["cycle_us"] for n in ("native", "ours", "ours+ping"))
        yield verdict("of the native pool's time", ratio(ours, native), 0.6)
        yield verdict("pre-ping on, of off", ratio(pinging, ours), 1.1)


def _run(databases: dict[str, dict[str, Any]], *arguments: str) -> Figures:
    module = "benchmarks.through_django"
    command = [sys.executable, "-m", module, json.dumps(databases), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    answer: Figures = json.loads(done.stdout)
    return answer


# -- in the contestants' process -------------------------------------------------------


def measure(databases: dict[str, dict[str, Any]]) -> Figures:
    """Return the figures of each contestant."""
    import django
    from django.conf import settings

    with TurnCounter(int(next(iter(databases.values()))["PORT"])) as counter:
        wired = {f"{n} wired": {**d, "PORT": str(counter.port)} for n, d in databases.items()}
        settings.configure(
            DATABASES={"default": {}, **databases, **wired},
            INSTALLED_APPS=["django_poolrouter"],
            SECRET_KEY="for the benchmark",
            USE_TZ=True,
        )
        django.setup()
        cycles = {name: _cycle(name) for name in databases}
        for cycle in cycles.values():
            _microseconds(cycle, CYCLES)  # warm up
        times = compare(
            {n: lambda c=c: _microseconds(c, CYCLES) for n, c in cycles.items()}, ROUNDS
        )
        return {
            name: {"cycle_us": times[name]} | count_turns(counter, f"{name} wired")
            for name in databases
        }


def install_sentry() -> None:
    """Let Sentry trace Django, and send nothing."""
    import sentry_sdk
    from sentry_sdk.integrations.django import DjangoIntegration

    # Without a DSN there is no transport.
    sentry_sdk.init(traces_sample_rate=1.0, integrations=[DjangoIntegration()])


def _cycle(alias: str) -> Callable[[], None]:
    from django.db import connections

    connection = connections[alias]

    def cycle() -> None:
        connection.ensure_connection()
        connection.close_if_unusable_or_obsolete()

    return cycle


def _microseconds(work: Callable[[], None], times: int) -> float:
    return round(nanoseconds(work, times) / 1e3, 2)


def count_turns(counter: TurnCounter, alias: str, requests: int = 50) -> dict[str, list[float]]:
    """Return how often the client speaks after the server, in a request."""
    from django.db import connections, transaction

    connection = connections[alias]

    def select() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()

    figures = {}
    works = {"turns_select": select, "turns_atomic": transaction.atomic(alias)(select)}
    for name, work in works.items():
        for warming in (True, False):
            before = counter.settled()
            for _ in range(requests):
                work()
                connection.close_if_unusable_or_obsolete()
            if not warming:
                figures[name] = [round((counter.settled() - before) / requests, 2)]
    return figures


if __name__ == "__main__":
    if "--sentry" in sys.argv:
        install_sentry()
    json.dump(measure(json.loads(sys.argv[1])), sys.stdout)
