"""Types that a session learns stay known in later requests; a user's own adapters do not."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.integration.packages.scripts import run

POOL = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 5}
KNOWN = ["{'a': '1'}", "['Aa']", "<Mood.happy: 2>", "'sad'"]
STOCK = ["Decimal", False]
numbers = itertools.count()


@pytest.fixture
def database(postgresql: Any) -> dict[str, str]:
    """Return the settings of a fresh database, without extensions."""
    postgresql.create_database(name := f"types{next(numbers)}")
    settings: dict[str, str] = postgresql.settings("primary", name=name)
    return settings


@pytest.mark.parametrize("apps", [[], ["django.contrib.postgres"]], ids=["plain", "contrib"])
@pytest.mark.parametrize("reset", ["rollback", "session"])
def test_types__that_a_request_learned_are_known_to_the_next(
    database: dict[str, str], apps: list[str], reset: str, hold: str
) -> None:
    options = {"pool": {**POOL, "reset": reset, "hold": hold}}
    entry = {"ENGINE": "django_poolrouter.backends.postgresql", **database, "OPTIONS": options}
    found = run("types_session", {"entry": entry, "apps": apps})
    assert found["same connection"]
    assert found["overridden"] == "float"
    assert found["seen"] == [KNOWN + STOCK] * 3
