"""What reset "auto" costs: watching statements, receivers, and the comparison at checkin.

All figures are CPU time of this process, as ratios to reset "rollback", which watches nothing.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.rounds import compare, ratio, verdict

POOL = {"pool_size": 4, "max_overflow": 0, "pool_pre_ping": False}
TENANTS = "tests.integration.packages.backends.tenants"
# An ORM statement of 300 characters, roughly.
COLUMNS = "title subtitle author_name publisher_name price published_on pages isbn rating".split()  # noqa: SIM905
ROUNDS, CYCLES = 150, 200

Figures = dict[str, list[float]]


def lines(vendor: str, server: Mapping[str, str]) -> Iterator[str]:
    """Measure on one vendor; SQLite has a server of its own, a file."""
    with tempfile.TemporaryDirectory() as folder:
        database = dict(server) or {"NAME": str(Path(folder, "bench.sqlite3"))}
        yield from _statements(vendor, database)
        if vendor == "sqlite3":
            yield from _row("a request with a receiver that sends a PRAGMA", vendor, database, 1.3)
        if vendor == "postgresql":
            yield from _row("a request with django-tenants", vendor, database, 1.3)
            yield from _row("the comparison at checkin, of a request", vendor, database, 0.05)


def _statements(vendor: str, database: dict[str, str]) -> Iterator[str]:
    yield from _row("a statement seen before", vendor, database, 1.01)
    yield from _row("a new statement", vendor, database, 1.1)


def _row(what: str, vendor: str, database: dict[str, str], limit: float) -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.session_state", what, vendor, json.dumps(database)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: Figures = json.loads(done.stdout)
    yield verdict(f"{vendor}, {what}", ratio(found["auto"], found["rollback"]), limit)


# -- in the contestants' process -------------------------------------------------------


def measure(what: str, vendor: str, database: dict[str, str]) -> Figures:
    """Return the CPU time of each contestant in each round, in microseconds."""
    _configure(vendor, database, ENGINES.get(what))
    works = {reset: MEASURES[what](reset) for reset in ("auto", "rollback")}
    for work in works.values():
        _cpu(work)
    return compare({reset: lambda w=work: _cpu(w) for reset, work in works.items()}, ROUNDS)


def _configure(vendor: str, database: dict[str, str], engine: str | None) -> None:
    import django
    from django.conf import settings

    entry = {**database, "ENGINE": engine or f"django_poolrouter.backends.{vendor}"}
    settings.configure(
        DATABASES={"default": {}}
        | {
            reset: {**entry, "OPTIONS": {"pool": {**POOL, "reset": reset}}}
            for reset in ("auto", "rollback")
        },
        INSTALLED_APPS=["django_poolrouter", "django.contrib.contenttypes"],
        SECRET_KEY="for the benchmark",
        USE_TZ=True,
        TENANT_MODEL="contenttypes.ContentType",
        TENANT_DOMAIN_MODEL="contenttypes.ContentType",
    )
    django.setup()


def _cpu(work: Callable[[], object]) -> float:
    began = time.process_time_ns()
    for _ in range(CYCLES):
        work()
    return round((time.process_time_ns() - began) / CYCLES / 1e3, 3)


def _books() -> Any:
    from django.db import models

    fields = {name: models.CharField(max_length=9, null=True) for name in COLUMNS}
    meta = type("Meta", (), {"app_label": "bench", "db_table": "bench_book"})
    return type("Book", (models.Model,), {"__module__": __name__, "Meta": meta, **fields})


_Book: list[Any] = []


def _seen(alias: str) -> Callable[[], object]:
    """Return an ORM query of one row, by its key, on a connection that stays leased."""
    from django.db import connections

    if not _Book:
        _Book.append(_books())
    book = _Book[0]
    if alias == "auto":  # the first of the two; an earlier row has left the table
        with connections[alias].cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS bench_book")
        with connections[alias].schema_editor() as editor:
            editor.create_model(book)
        book.objects.using(alias).create(title="one")
    connections[alias].ensure_connection()
    rows = book.objects.using(alias)
    return lambda: list(rows.filter(title="one"))


def _new(alias: str) -> Callable[[], object]:
    """Return a statement whose text is another one each time."""
    from django.db.models import Value

    _seen(alias)
    numbers = itertools.count()
    rows = _Book[0].objects.using(alias)
    return lambda: list(rows.annotate(**{f"n{next(numbers)}": Value(1)}).filter(title="one"))


def _request(alias: str) -> Callable[[], object]:
    from django.db import connections

    connection = connections[alias]

    def request() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchall()
        connection.close_if_unusable_or_obsolete()

    return request


def _with_receiver(alias: str) -> Callable[[], object]:
    from django.db.backends.signals import connection_created

    connection_created.connect(_pragma)
    return _request(alias)


def _pragma(connection: Any, **kwargs: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA cache_size = -8000")


def _with_tenants(alias: str) -> Callable[[], object]:
    from django.db import connections

    connections[alias].set_schema_to_public()  # type: ignore[attr-defined]
    return _request(alias)


def _compared(alias: str) -> Callable[[], object]:
    """Return the comparison alone for "auto", and a request for the other contestant."""
    if alias == "rollback":
        return _request(alias)
    from django.db import connections

    connections[alias].ensure_connection()
    raw: Any = connections[alias].connection
    driver: Any = connections[alias].driver_class()  # type: ignore[attr-defined]
    return lambda: driver.reported(raw) != raw.session.reported


ENGINES = {"a request with django-tenants": TENANTS}
MEASURES = {
    "a statement seen before": _seen,
    "a new statement": _new,
    "a request with a receiver that sends a PRAGMA": _with_receiver,
    "a request with django-tenants": _with_tenants,
    "the comparison at checkin, of a request": _compared,
}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))))
