"""django-tenants: 60 tenants on four connections, each sees its own rows."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.packages.scripts import run

FOUR = {"pool_size": 2, "max_overflow": 2, "pool_timeout": 30}


@pytest.mark.parametrize("way", ["recipe", "original"])
@pytest.mark.parametrize("limit", [False, True], ids=["each cursor sets", "limited"])
def test_sixty_tenants__see_their_own_rows_on_four_connections(
    tenants_database: dict[str, str], tenants: list[str], way: str, limit: bool, hold: str
) -> None:
    order = {"database": tenants_database, "tenants": tenants, "pool": FOUR}
    found: Any = run("tenants.visits", {**order, "way": way, "limit": limit, "hold": hold})
    assert found["wrong"] == {}
    assert found["answers"] == 6 * 60 * 9
    assert (found["pools"], found["leases"]) == (1, 0)
    assert 1 <= found["sessions"] <= 4


@pytest.mark.parametrize("way", ["recipe", "original"])
@pytest.mark.parametrize("reset", ["auto", "session"])
def test_swallowed_error__shows_no_rows_of_the_tenant_before(
    tenants_database: dict[str, str], tenants: list[str], way: str, reset: str
) -> None:
    """An error that a view swallows in a block undoes the SET, which django-tenants overlooks.

    Then a connection of its own finds no table.  A pooled one had the tenant of another request.
    """
    pool = {"pool_size": 1, "max_overflow": 0, "reset": reset}
    order = {"database": tenants_database, "tenants": tenants[:2], "pool": pool, "way": way}
    found = run("tenants.swallowed", {**order, "limit": True, "hold": "request"})
    assert found["seen"] != tenants[0]
