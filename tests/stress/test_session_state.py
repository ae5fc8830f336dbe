"""Requests by chance that change their sessions: each answer is as on a connection of its own.

SESSION_SECONDS says for how long; STRESS_SEED repeats what the threads wanted to do.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from django.db.backends.signals import connection_created

from django_poolrouter import pools
from django_poolrouter.drivers.session import Session
from django_poolrouter.sql.marks import MARKS
from tests.conftest import Vendor
from tests.stress.sessions.dialects import DIALECTS, THREADS
from tests.stress.sessions.hammer import Report, hammer, until
from tests.stress.sessions.player import greet
from tests.support.engines import STOCK
from tests.support.testapp.shop.models import Tag

pytestmark = [pytest.mark.stress, pytest.mark.slow]

SECONDS = float(os.environ.get("SESSION_SECONDS", "3"))
POOL = {"pool_size": 4, "max_overflow": 0, "pool_timeout": 60}
CONTROL_SECONDS = 60
"""How long a control may look for its differences; it needs one or two."""

Run = Callable[..., Report]


def database(vendor: str, settings: dict[str, Any], **pool: Any) -> dict[str, Any]:
    """Return an entry of DATABASES, without a pool if no option of one is given."""
    options = {"timeout": 60} if vendor == "sqlite" else {}
    if pool:
        return Vendor(vendor, settings).database({**POOL, **pool}, OPTIONS=options)
    engine = STOCK[vendor].removesuffix(".base")
    return {"ENGINE": engine, **settings, "OPTIONS": options, "CONN_MAX_AGE": 0}


@pytest.fixture(params=["postgresql", "mariadb", "sqlite"])
def twins(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, list[dict[str, Any]]]:
    """A vendor, and the settings of the pool's database and of each thread's own one."""
    vendor: str = request.param
    if vendor == "sqlite":
        names = ["pooled", *(f"own{number}" for number in range(THREADS))]
        return vendor, [{"NAME": str(tmp_path / f"{name}.sqlite3")} for name in names]
    servers = request.getfixturevalue(vendor)
    names = [f"hammer_{secrets.token_hex(4)}" for _ in range(2)]
    for name in names:
        servers.create_database(name)
    if vendor == "postgresql":
        servers.sql(
            "primary",
            "DO $$ BEGIN CREATE ROLE hammer_guest IN ROLE pg_monitor;"
            " EXCEPTION WHEN duplicate_object THEN NULL; END $$",
            f"GRANT hammer_guest TO {servers.USER}",
        )
    ours, own = (servers.settings("primary", name) for name in names)
    return vendor, [ours, *[own] * THREADS]


@pytest.fixture
def run(twins: tuple[str, list[dict[str, Any]]], use_databases: Any) -> Iterator[Run]:
    vendor, settings = twins
    seed = os.environ.get("STRESS_SEED") or secrets.token_hex(4)

    def run(seconds: float, most_differences: int, **pool: Any) -> Report:
        databases = {"default": database(vendor, settings[0], **pool)}
        databases["beside"] = database(vendor, settings[0])
        for number, own in enumerate(settings[1:]):
            databases[f"own{number}"] = database(vendor, own)
            databases[f"own{number}_beside"] = database(vendor, own)
        use_databases(databases)
        make_tables(vendor, settings)
        report = hammer(DIALECTS[vendor], seed, until(seconds, most_differences))
        show(report, f"STRESS_SEED={seed} {vendor}, {pool}")
        return report

    connection_created.connect(greet)
    try:
        yield run
    finally:
        connection_created.disconnect(greet)


def make_tables(vendor: str, settings: list[dict[str, Any]]) -> None:
    """Make the tables in each database, past the pool."""
    aliases = ["beside", *(f"own{number}_beside" for number in range(THREADS))]
    made: list[str] = []
    for alias, database in zip(aliases, settings, strict=True):
        connection = connections[alias]
        if database["NAME"] not in made:
            made.append(database["NAME"])
            with connection.cursor() as cursor:
                for sql in DIALECTS[vendor].tables:
                    cursor.execute(sql)
            with connection.schema_editor() as editor:
                editor.create_model(Tag)
        connection.close()


def show(report: Report, title: str) -> None:
    status = pools["default"].status()
    print(
        f"{title}\n{report.requests} requests, {report.answers} answers compared,"
        f" {report.differences} differences, {report.conflicts} conflicts; {status.checkouts}"
        f" leases, {early_ends(report)} of them ended early; {marked():.1%} were marked;"
        f" {status.resets} sessions cleared; {status.connects} connects; marked by"
        f" {by_kind(status.marks)}"
    )
    for difference in report.shown:
        print(difference)


def early_ends(report: Report) -> int:
    """Return how many leases no request has ended.

    A few end because a receiver failed, or because only another connection was clean.
    """
    return pools["default"].status().checkouts - report.closes


def by_kind(marks: tuple[int, ...]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in zip(MARKS, marks, strict=True) if count)


def marked() -> float:
    """Return the share of leases that were marked."""
    status = pools["default"].status()
    return status.marked / status.checkouts


@pytest.fixture(params=["request", "transaction"])
def hold(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_answers__are_those_of_a_connection_of_its_own(run: Run, hold: str) -> None:
    report = run(SECONDS, 20, reset="auto", hold=hold)
    assert report.differences == 0
    assert report.conflicts <= report.requests / 50
    # To reset always, or to keep each lease to the end, would give no difference either.
    assert 0.02 < marked() < 0.6
    if hold == "transaction":
        assert early_ends(report) > report.requests / 2


def test_control__without_a_reset_the_state_of_others_is_seen(run: Run, hold: str) -> None:
    assert run(CONTROL_SECONDS, 3, reset="rollback", hold=hold).differences > 0


def test_control__without_marks_the_state_of_others_is_seen(
    run: Run, hold: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Session, "_note", lambda *ignored, **too: None)
    assert run(CONTROL_SECONDS, 3, reset="auto", hold=hold).differences > 0
