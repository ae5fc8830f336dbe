"""Fixtures for all tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.support.databases import ENGINES, configured

pytest_plugins = ["tests.servers.fixtures"]

# No example has a deadline: the machine may be busy with something else.
hypothesis.settings.register_profile("tests", deadline=None)
# `make quick` tries fewer; all else tries as many as Hypothesis does by default.
hypothesis.settings.register_profile("quick", deadline=None, max_examples=25)
chosen = "quick" if os.environ.get("HYPOTHESIS_PROFILE") == "quick" else "tests"
hypothesis.settings.load_profile(chosen)


@pytest.fixture
def use_databases(django_db_blocker: Any) -> Iterator[Callable[..., None]]:
    """Point Django at the given DATABASES until the end of the test."""
    with django_db_blocker.unblock(), ExitStack() as stack:
        yield lambda databases, **settings: stack.enter_context(configured(databases, **settings))


class Vendor:
    """A kind of database that contract tests run on."""

    def __init__(self, name: str, settings: dict[str, Any], cluster: str = "") -> None:
        self.name = name
        self.cluster = cluster or name
        """The fixture of its servers."""
        self.settings = settings

    def database(self, pool: Any = True, **changes: Any) -> dict[str, Any]:
        """Return an entry for DATABASES with the given OPTIONS["pool"]."""
        options = {
            **self.settings.get("OPTIONS", {}),
            **changes.pop("OPTIONS", {}),
            "pool": pool,
        }
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
    name = request.param.removesuffix("_tls")
    return Vendor(name, request.getfixturevalue(f"{request.param}_database"), request.param)


over_tls_too = pytest.mark.parametrize(
    "server", ["postgresql", "postgresql_tls", "mariadb", "mariadb_tls"], indirect=True
)
over_tls = pytest.mark.parametrize("server", ["postgresql_tls", "mariadb_tls"], indirect=True)


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


@pytest.fixture(scope="session")
def postgresql_tls_database(postgresql_tls: Any) -> dict[str, Any]:
    """The settings of an empty database, over TLS."""
    postgresql_tls.create_database("contract")
    options = {"sslmode": "verify-ca", "sslrootcert": str(postgresql_tls.certificate)}
    return {**postgresql_tls.settings("primary", name="contract"), "OPTIONS": options}


@pytest.fixture(scope="session")
def mariadb_tls_database(mariadb_tls: Any) -> dict[str, Any]:
    """The settings of an empty database, over TLS."""
    mariadb_tls.create_database("contract")
    options = {"ssl": {"ca": str(mariadb_tls.certificate)}}
    return {**mariadb_tls.settings("primary", name="contract"), "OPTIONS": options}
