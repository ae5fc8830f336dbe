"""The example: its own tests on every kind of database, its workers seen from outside, its demo."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from example_project.demo.servers import NODES, create
from example_project.demo.site import ROOT, Site
from example_project.demo.traffic import Traffic
from tests.servers import Cluster
from tests.support import programs
from tests.support.waiting import eventually

pytestmark = pytest.mark.harness

ALIASES = [alias for nodes in NODES.values() for alias in nodes]
KINDS = pytest.mark.parametrize("kind", ["sqlite", "postgresql", "mysql"])

Environment = dict[str, str]


def manage(*command: str, cwd: Path, environment: Environment) -> subprocess.CompletedProcess[str]:
    """Run a command of the example with nothing of our own environment but the PATH."""
    return programs.run(
        ["-m", "example_project.manage", *command],
        {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
        | environment,
        cwd=cwd,
        timeout=100,
    )


def environment_on(kind: str, cluster: Cluster) -> Environment:
    """Put both of the example's databases on one cluster, with as many replicas as it has."""
    environment = {"DB": kind}
    for database, nodes in NODES.items():
        available = {a: n if n in cluster.nodes else "replica1" for a, n in nodes.items()}
        environment |= create(cluster, database, available)
    return environment


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return {"DB": "sqlite", "DB_DIR": str(tmp_path_factory.mktemp("sqlite"))}


@pytest.fixture(scope="module")
def on_postgresql(postgresql: Cluster) -> Environment:
    return environment_on("postgresql", postgresql)


@pytest.fixture(scope="module")
def on_mysql(mariadb: Cluster) -> Environment:
    return environment_on("mysql", mariadb)


# -- its own tests and checks ------------------------------------------------


@KINDS
def test_example__passes_its_own_tests(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    environment = request.getfixturevalue(f"on_{kind}")
    done = manage("test", "example_project", "--noinput", cwd=tmp_path, environment=environment)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^Ran \d{2,} tests", done.stderr, re.MULTILINE)


@KINDS
def test_example__is_clean_to_all_system_checks(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    environment = request.getfixturevalue(f"on_{kind}")
    databases = [f"--database={alias}" for alias in ALIASES]
    done = manage(
        "check", "--fail-level=WARNING", *databases, cwd=tmp_path, environment=environment
    )
    assert done.returncode == 0, done.stderr


def test_example__has_all_its_migrations(on_sqlite: Environment, tmp_path: Path) -> None:
    done = manage("makemigrations", "--check", cwd=tmp_path, environment=on_sqlite)
    assert done.returncode == 0, done.stdout + done.stderr


# -- its workers, as `poolstatus` shows them ---------------------------------


@pytest.fixture
def site(on_postgresql: Environment, postgresql: Cluster, tmp_path: Path) -> Site:
    """Return the example on PostgreSQL, with products and orders."""
    site = Site(on_postgresql | {"SECRET_KEY": str(tmp_path), "DEBUG": "0"}, tmp_path)
    site.migrate_and_seed()
    postgresql.wait_for_replicas()
    return site


@pytest.fixture
def checkouts(site: Site, tmp_path: Path) -> Callable[[], dict[int, int]]:
    """Return what asks `poolstatus` how many checkouts each process has done.

    It asks as another shell would: from a folder and an environment of its own.
    """
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = site.environment | {"HOME": str(elsewhere), "TMPDIR": str(elsewhere)}

    def ask() -> dict[int, int]:
        done = manage("poolstatus", "--json", cwd=elsewhere, environment=environment)
        assert done.returncode == 0, done.stderr
        processes: list[dict[str, Any]] = json.loads(done.stdout)["processes"]
        return {each["pid"]: sum(p["checkouts"] for p in each["pools"]) for each in processes}

    return ask


def test_poolstatus__shows_busy_workers_from_outside_and_no_killed_one(
    site: Site, checkouts: Callable[[], dict[int, int]]
) -> None:
    with site.served() as address:
        with Traffic(address) as traffic:
            first = eventually(lambda: both if len(both := checkouts()) == 2 else None, 30)
            later = checkouts()
        assert traffic.tally.errors == []
        assert later.keys() == first.keys()
        assert all(later[pid] > count for pid, count in first.items())

        killed = min(first)
        os.kill(killed, signal.SIGKILL)
        assert killed not in checkouts()


# -- its demo ----------------------------------------------------------------


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM], ids=lambda each: each.name)
def test_demo__leaves_nothing_behind_when_stopped(signum: signal.Signals, tmp_path: Path) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-m", "example_project.demo", "--db=sqlite", "--seconds=60"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with demo:
        assert demo.stdout is not None
        address = next(line for line in demo.stdout if "http://" in line)
        demo.send_signal(signum)
    assert demo.returncode == 130
    assert list(tmp_path.iterdir()) == []
    port = int(address.rstrip("/\n").rpartition(":")[2])
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", port)) != 0
