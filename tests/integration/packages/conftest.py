"""Databases for the packages' tests."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.packages.scripts import need
from tests.integration.packages.tenants.project import beside

TENANTS = [f"t{number}" for number in range(60)]
TABLES = """
CREATE SCHEMA {0};
CREATE TABLE {0}.secret (owner text);
INSERT INTO {0}.secret VALUES ('{0}');
CREATE TABLE {0}.notes (thread integer, n integer, PRIMARY KEY (thread, n));
"""


@pytest.fixture(params=["request", "transaction"])
def hold(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def tenants() -> list[str]:
    need("django_tenants")
    return TENANTS


@pytest.fixture(scope="session")
def tenants_database(tenants: list[str], postgresql: Any) -> dict[str, str]:
    """Return the settings of a database with a schema for each tenant."""
    return database_of_tenants(postgresql, "tenants", tenants)


@pytest.fixture(scope="session")
def twin_database(tenants: list[str], postgresql: Any) -> dict[str, str]:
    """Return the settings of another one like it."""
    return database_of_tenants(postgresql, "tenants_twin", tenants)


def database_of_tenants(postgresql: Any, name: str, tenants: list[str]) -> dict[str, str]:
    postgresql.create_database(name)
    settings: dict[str, str] = postgresql.settings("primary", name=name)
    with beside(settings) as raw:
        raw.execute("".join(TABLES.format(tenant) for tenant in tenants))
    return settings
