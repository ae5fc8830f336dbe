"""`manage.py test` and `migrate` of a project with replicas, run as a user runs them."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from tests.servers import Cluster
from tests.support import programs
from tests.support.skips import require_program
from tests.support.testapp.site import NODES, Site, on_sqlite

ROOT = Path(__file__).parents[3]
MANAGE = ["-m", "tests.support.testproject.manage"]
TEST_DATABASES = {
    "postgresql": "SELECT datname FROM pg_database WHERE datname LIKE 'test_%'",
    "mariadb": "SHOW DATABASES LIKE 'test\\_%'",
}


def run(databases: dict[str, Any], *command: str) -> str:
    """Run a command of the project, with warnings as errors; return what it said."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONWARNINGS": "error",
        "DATABASES": json.dumps(databases),
    }
    done = programs.run([*MANAGE, *command], environment, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def in_files(folder: Path, *, is_named: bool) -> dict[str, Any]:
    """Return DATABASES on SQLite, whose test databases may be files too."""
    databases = on_sqlite(folder)
    for alias, (name, _) in NODES.items() if is_named else ():
        databases[alias]["TEST"] = {"NAME": str(folder / f"test_{name}.sqlite3")}
    return databases


@pytest.fixture(scope="module")
def on_servers(request: pytest.FixtureRequest) -> Any:
    """Return DATABASES on replicated servers; their databases exist."""
    made: dict[str, Site] = {}

    def databases(kind: str) -> dict[str, Any]:
        if kind not in made:
            made[kind] = Site(kind, request.getfixturevalue(kind), "runner")
        return made[kind].databases()

    return databases


@pytest.mark.parametrize("parallel", [1, 2], ids=["one process", "two processes"])
@pytest.mark.parametrize("kind", ["postgresql", "mariadb", "sqlite", "sqlite in files"])
def test_tests_of_a_project__pass_and_leave_nothing_behind(
    kind: str, parallel: int, request: pytest.FixtureRequest, on_servers: Any, tmp_path: Path
) -> None:
    if kind.startswith("sqlite"):
        databases = in_files(tmp_path, is_named=kind == "sqlite in files")
    else:
        databases = on_servers(kind)
    if kind == "mariadb" and parallel > 1:  # Django clones a database with it
        require_program("mysqldump", "mariadb-client")
    said = run(
        databases, "test", "tests.support.testproject", "--noinput", f"--parallel={parallel}", "-v2"
    )
    ran = re.search(r"^Ran (\d+) tests", said, re.MULTILINE)
    assert ran is not None
    assert int(ran[1]) == 22
    assert ("Cloning test database" in said) == (parallel > 1)
    assert list(tmp_path.iterdir()) == []
    if kind in TEST_DATABASES:
        servers: Cluster = request.getfixturevalue(kind)
        assert servers.sql("primary", TEST_DATABASES[kind]) == ""


def test_databases_of_an_earlier_run__are_used_again_or_replaced(
    on_servers: Any, postgresql: Cluster
) -> None:
    databases = on_servers("postgresql")
    command = ["test", "tests.support.testproject.tests.AtomicTests", "--noinput"]
    run(databases, *command, "--keepdb")
    names = postgresql.sql("primary", TEST_DATABASES["postgresql"]).splitlines()
    assert sorted(names) == ["test_runner", "test_runner_orders"]
    assert "Destroying old test database" in run(databases, *command)
    assert postgresql.sql("primary", TEST_DATABASES["postgresql"]) == ""


# -- migrate ----------------------------------------------------------------------------


def tables(alias: str) -> set[str]:
    with connections[alias].cursor() as cursor:
        return set(connections[alias].introspection.table_names(cursor))


def test_migrate__makes_tables_where_they_belong(use_databases: Any, tmp_path: Path) -> None:
    databases = on_sqlite(tmp_path)
    for alias, database in databases.items():
        database["NAME"] = str(tmp_path / alias)
    use_databases(databases)
    for alias in databases:
        with suppress(CommandError):  # a replica
            call_command("migrate", database=alias, run_syncdb=True, verbosity=0)
    for alias in ("replica1", "replica2", "orders1"):
        assert tables(alias) == set()
    assert {"shop_book", "billing_tariff", "auth_user"} < tables("default")
    assert "orders_order" not in tables("default")
    assert {"orders_order", "billing_invoice", "billing_invoice_labels"} < tables("orders")
    assert not {"shop_book", "billing_tariff", "auth_user"} & tables("orders")


def test_migrate__of_a_replica_is_refused(use_databases: Any, on_servers: Any) -> None:
    use_databases(on_servers("postgresql"))
    before = tables("replica1")
    with pytest.raises(CommandError, match=r"'replica1' is a replica of 'default'.*=default\."):
        call_command("migrate", database="replica1", verbosity=0)
    assert tables("replica1") == before
