"""django-tenants: 60 tenants on four connections, each sees its own rows."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.packages.scripts import run

pytestmark = pytest.mark.xfail(strict=True, reason="a pool for each tenant (issue 13.3)")
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
