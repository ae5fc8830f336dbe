"""Tenants under random requests: a pooled connection answers as one of its own would.

HAMMER_SECONDS says for how long; STRESS_SEED repeats what the threads wanted to do.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.packages.scripts import run
from tests.integration.packages.tenants.project import beside

pytestmark = [pytest.mark.stress, pytest.mark.slow]

SECONDS = float(os.environ.get("HAMMER_SECONDS", "2"))
HOOKS = 20
"""That must have run, if it takes longer."""
POOL = {"pool_size": 2, "max_overflow": 2, "pool_timeout": 60}

Hammer = Callable[..., dict[str, Any]]


@pytest.fixture
def hammer(
    tenants_database: dict[str, str], twin_database: dict[str, str], tenants: list[str]
) -> Hammer:
    databases = {"database": tenants_database, "twin": twin_database}
    seed = os.environ.get("STRESS_SEED") or secrets.token_hex(4)

    def hammer(**order: Any) -> dict[str, Any]:
        for database in databases.values():
            forget_notes(database, tenants)
        order |= {"tenants": tenants[:40], "pool": POOL | order.pop("pool", {}), "seed": seed}
        order |= {"seconds": SECONDS, "hooks": HOOKS}
        found: dict[str, Any] = run("tenants.hammer", {**databases, **order}, SECONDS + 150)
        shown = found.pop("shown")
        print(f"STRESS_SEED={seed} {order['way']}, {order['hold']}: {found}")
        for difference in shown:
            print(difference)
        return found

    return hammer


def forget_notes(database: dict[str, str], tenants: list[str]) -> None:
    """Let both databases begin alike: a run that failed leaves other rows in each."""
    with beside(database) as raw:
        raw.execute("".join(f"DELETE FROM {tenant}.notes;" for tenant in tenants))


@pytest.mark.parametrize("way", ["recipe", "original"])
@pytest.mark.parametrize("limit", [False, True], ids=["each cursor sets", "limited"])
def test_answers__are_those_of_a_connection_of_its_own(
    hammer: Hammer, way: str, limit: bool, hold: str
) -> None:
    found = hammer(way=way, limit=limit, hold=hold, blind=False)
    assert found["hooks"] >= HOOKS
    assert found["differences"] == 0
    assert (found["pools"], found["leases"]) == (1, 0)


@pytest.mark.parametrize(
    ("way", "hold"),
    # django-tenants stands before our backend with ORIGINAL_BACKEND, so close() reaches it there.
    [("recipe", "request"), ("recipe", "transaction"), ("original", "transaction")],
)
def test_control__without_the_overrides_rows_of_other_tenants_are_read(
    hammer: Hammer, way: str, hold: str
) -> None:
    # With reset "auto", a SET that was not declared as the backend's own marks the lease.
    pool = {"reset": "rollback"}
    found = hammer(way=way, limit=True, hold=hold, blind=True, pool=pool)
    assert found["foreign"] > 0
