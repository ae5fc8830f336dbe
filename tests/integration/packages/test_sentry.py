"""Sentry has a span for each connection that is opened, and for each wait for one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.packages.scripts import need, run

POOL = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 30}
QUERY = "SELECT 42"


@pytest.fixture
def spans(postgresql_database: dict[str, str]) -> Any:
    need("sentry_sdk")

    def spans(engine: str, waits: bool, **options: Any) -> dict[str, list[str]]:
        entry = {"ENGINE": engine, **postgresql_database, "OPTIONS": options}
        found: dict[str, list[str]] = run("sentry_spans", {"entry": entry, "waits": waits})
        return found

    return spans


def test_spans_of_django__connect_in_each_request(spans: Any) -> None:
    """So Sentry works in the tests' processes, and this is what ours is compared with."""
    assert spans("django.db.backends.postgresql", waits=False) == {
        "opened": ["connect", QUERY],
        "idle": ["connect", QUERY],
        "several": ["connect", QUERY, QUERY, QUERY],
    }


def test_spans__connect_where_a_connection_was_opened_or_waited_for(spans: Any, hold: str) -> None:
    engine = "django_poolrouter.backends.postgresql"
    assert spans(engine, waits=True, pool={**POOL, "hold": hold}) == {
        "opened": ["connect", QUERY],
        "idle": [QUERY],
        "several": [QUERY, QUERY, QUERY],
        "waited": ["connect", QUERY],
        "idle again": [QUERY],
    }
