"""Fixtures for all tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.databases import ENGINES, configured

pytest_plugins = ["tests.servers.fixtures"]


@pytest.fixture
def use_databases(django_db_blocker: Any) -> Iterator[Callable[..., None]]:
    """Point Django at the given DATABASES until the end of the test."""
    with django_db_blocker.unblock(), ExitStack() as stack:
        yield lambda databases, **settings: stack.enter_context(configured(databases, **settings))


class Vendor:
    """A kind of database that contract tests run on."""

    def __init__(self, name: str, settings: dict[str, Any]) -> None:
        self.name = name
        self.settings = settings

    def database(self, pool: Any = True, **changes: Any) -> dict[str, Any]:
        """Return an entry for DATABASES with the given OPTIONS["pool"]."""
        options = {**changes.pop("OPTIONS", {}), "pool": pool}
        return {"ENGINE": ENGINES[self.name], **self.settings, "OPTIONS": options, **changes}


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def vendor(request: pytest.FixtureRequest, tmp_path: Path) -> Vendor:
    """Each kind of database in turn, with a database for tests that run one by one."""
    if request.param == "sqlite":
        return Vendor("sqlite", {"NAME": str(tmp_path / "db.sqlite3")})
    return Vendor(request.param, request.getfixturevalue(f"{request.param}_database"))


@pytest.fixture(params=["postgresql", "mariadb"])
def server(request: pytest.FixtureRequest) -> Vendor:
    """Each kind of database that is a server, with sessions and passwords."""
    return Vendor(request.param, request.getfixturevalue(f"{request.param}_database"))


@pytest.fixture(scope="session")
def postgresql_database(postgresql: Any) -> dict[str, str]:
    """The settings of an empty database on the PostgreSQL primary."""
    postgresql.create_database("contract")
    return postgresql.settings("primary", name="contract")


@pytest.fixture(scope="session")
def mariadb_database(mariadb: Any) -> dict[str, str]:
    """The settings of an empty database on the MariaDB primary."""
    mariadb.create_database("contract")
    return mariadb.settings("primary", name="contract")
