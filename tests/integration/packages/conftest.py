"""Databases for the packages' tests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import Any

import pytest

from tests.integration.packages.scripts import need, run
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


# What the site beside other people's packages installs, by the module that must be there.
BESIDE = "tests.integration.packages.beside"
AUTH = ["django.contrib.contenttypes", "django.contrib.auth"]
APPS = {
    "qsessions": [*AUTH, "qsessions"],
    "django_tasks_db": ["django_tasks_db"],
    "django_q": ["django_q"],
    "django_celery_beat": ["django_celery_beat"],
    "django_celery_results": ["django_celery_results"],
    "mptt": [f"{BESIDE}.mptt_tree"],
    "treebeard": [f"{BESIDE}.path_tree"],
    "wagtail": [*AUTH, "taggit", "modelcluster", "wagtail"],
}
ENGINE = "django_poolrouter.backends.postgresql"


class Site:
    """A site whose one database has two replicas, or none."""

    def __init__(self, servers: Any) -> None:
        self.servers = servers
        self.has_tables = False
        self.lagged = False

    def make_tables(self) -> None:
        """Make the tables of all packages that are installed, before the first script."""
        self.has_tables = True
        self.servers.create_database("beside")
        installed = [apps for module, apps in APPS.items() if find_spec(module)]
        self.run("migrate", apps=sorted({app for apps in installed for app in apps}))

    def let_replicas_go(self) -> None:
        """Let the replicas go on, wherever a script ended."""
        if self.lagged:
            self.lagged = False
            for node in self.servers.replicas:
                self.servers.sql(node, "SELECT pg_wal_replay_resume()")
            self.servers.wait_for_replicas()

    def run(
        self,
        module: str,
        apps: list[str],
        *,
        replicas: bool = False,
        lag: bool = False,
        removed: Iterable[str] = (),
        what: str = "",
        **settings: Any,
    ) -> Any:
        """Return what a script finds.

        Args:
            module: the script.
            apps: what it installs, besides our package.
            replicas: whether the database has its replicas.
            lag: whether they stand still from the place where the script says so.
            removed: apps that are taken out of ALWAYS_PRIMARY.
            what: tells the script what to do, if it can do several things.
            settings: more settings.

        """
        if not self.has_tables:
            self.make_tables()
        self.lagged |= lag
        nodes = self.servers.nodes if replicas else self.servers.nodes[:1]
        entries = {"default" if node == "primary" else node: self._entry(node) for node in nodes}
        entries["default"]["ROUTER"]["ALWAYS_PRIMARY"] = [f"!{label}" for label in removed]
        order = {
            "databases": entries,
            "servers": {node: self._conninfo(node) for node in nodes},
            "apps": apps,
            "settings": settings,
            "lag": lag,
            "what": what,
        }
        return run(f"beside.{module}", order)

    def _entry(self, node: str) -> dict[str, Any]:
        # A replica that stands still is read all the same, as one is that is a little behind.
        router: dict[str, Any] = {"MAX_LAG": None, "REPLICA_OF": "default"}
        del router["MAX_LAG" if node != "primary" else "REPLICA_OF"]
        return {"ENGINE": ENGINE, **self.servers.settings(node, "beside"), "ROUTER": router}

    def _conninfo(self, node: str) -> str:
        return (
            f"host=127.0.0.1 port={self.servers.ports[node]} user={self.servers.SUPERUSER} "
            "dbname=postgres"
        )


@pytest.fixture(scope="session")
def site_with_replicas(postgresql: Any) -> Site:
    return Site(postgresql)


@pytest.fixture
def site(site_with_replicas: Site) -> Iterator[Site]:
    """The site, whose replicas go on after the test."""
    yield site_with_replicas
    site_with_replicas.let_replicas_go()
