"""Children that are forked or spawned in the midst of a transaction, seen from their parent.

What PostgreSQL and MariaDB see of forked children is in `pool.test_faults`, and of gunicorn's
preloaded workers in `test_sigterm`.
"""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Vendor
from tests.support import programs

ROOT = Path(__file__).parents[3]
# Options to wait for no lock.
IMPATIENT: dict[str, dict[str, Any]] = {
    "sqlite": {"timeout": 0},
    "postgresql": {"options": "-c lock_timeout=1ms"},
    "mariadb": {"init_command": "SET innodb_lock_wait_timeout = 0"},
}


def run(database: dict[str, Any], folder: Path, *how: str) -> None:
    done = programs.run(
        ["-m", "tests.support.serving.forking", *how],
        cwd=ROOT,
        environment={
            "PATH": os.environ["PATH"],
            "PYTHONWARNINGS": "error",
            "POOLROUTER_RUNTIME_DIR": str(folder / "run"),
            "DJANGO_SETTINGS_MODULE": "tests.support.serving.settings",
            "DATABASES": json.dumps({"default": database}),
        },
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["undisturbed"]
    assert done.stderr == ""


@pytest.mark.parametrize("journal", ["delete", "wal"])
@pytest.mark.parametrize("how", ["does nothing", "uses its own", "leaves it open", "fork"])
def test_forked_child__never_disturbs_its_parent_on_sqlite(
    how: str, journal: str, tmp_path: Path
) -> None:
    """SQLite would roll back, with a copied handle, what the parent is writing."""
    name = str(tmp_path / "db.sqlite3")
    with closing(sqlite3.connect(name)) as raw:
        raw.execute(f"PRAGMA journal_mode = {journal}")
    vendor = Vendor("sqlite", {"NAME": name})
    run(vendor.database(OPTIONS={"timeout": 0}), tmp_path, how)
    with closing(sqlite3.connect(name)) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("how", ["spawn", "forkserver"])
def test_spawned_child__has_pools_of_its_own(how: str, vendor: Vendor, tmp_path: Path) -> None:
    run(vendor.database(OPTIONS=IMPATIENT[vendor.name]), tmp_path, how)


@pytest.mark.parametrize("how", ["ends at once", "does nothing", "uses its own"])
def test_forked_child__never_ends_the_transaction_of_another_thread(
    how: str, vendor: Vendor, tmp_path: Path
) -> None:
    """In the child that thread ends with the fork, and its local storage with it."""
    run(vendor.database(OPTIONS=IMPATIENT[vendor.name]), tmp_path, how, "in a thread")
