"""A descriptor that was closed behind the package's back may be a file of the application's."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Vendor
from tests.support import programs
from tests.support.host import Host
from tests.support.serving.own_files import COUNT, LINE
from tests.support.skips import missing

ROOT = Path(__file__).parents[3]
CASES = [
    ("exit_handler", "sqlite"),
    ("new_pools", "sqlite"),
    ("new_pools", "postgresql"),
    ("new_pools", "mariadb"),
    ("lease_is_out", "postgresql"),
    ("lease_is_out", "mariadb"),
    ("block_is_open", "sqlite"),
    ("block_is_open", "postgresql"),
    ("block_is_open", "mariadb"),
    ("disposed", "sqlite"),
    ("sockets_are_opened", "postgresql"),
    ("sockets_are_opened", "mariadb"),
    ("forked", "postgresql"),
    ("forked", "mariadb"),
    ("forked_without_hooks", "postgresql"),
    ("forked_without_hooks_to_end", "postgresql"),
    ("daemon_detaches", "sqlite"),
    ("daemon_detaches", "postgresql"),
    ("daemon_stays", "sqlite"),
    ("daemon_stays", "postgresql"),
]


@pytest.fixture
def run(vendor: Vendor, tmp_path: Path) -> Any:
    """Run one of the cases of ``own_files``, and return what is in its files at the end."""
    databases = {name: vendor.database() for name in ("default", "second", "third")}

    def run(what: str) -> list[bytes]:
        if what.startswith("daemon") and find_spec("daemon") is None:
            missing("python-daemon (not installed; pip install python-daemon)")
        done = programs.run(
            ["-m", "tests.support.serving.own_files", what],
            cwd=ROOT,
            environment={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
                "POOLROUTER_RUNTIME_DIR": str(tmp_path / "run"),
                "FOLDER": str(tmp_path),
                "DATABASES": json.dumps(databases),
            },
        )
        assert done.stderr == ""
        assert done.returncode == 0
        assert done.stdout.splitlines()[-1:] == ["done"]
        return [path.read_bytes() for path in tmp_path.glob("*.own")]

    return run


@pytest.mark.parametrize(("what", "vendor"), CASES, indirect=["vendor"])
def test_application__keeps_its_files(what: str, run: Any, tmp_path: Path) -> None:
    files = 0 if what == "sockets_are_opened" else COUNT
    assert run(what) == [LINE] * files
    for path in (tmp_path / "run").iterdir():
        assert path.suffix == ".retired"
        json.loads(path.read_bytes())


@pytest.mark.parametrize("vendor", ["sqlite"], indirect=True)
def test_sqlite__writes_no_page_of_a_log_into_another_file(run: Any, tmp_path: Path) -> None:
    assert run("write_in_wal") == [LINE] * COUNT
    with closing(sqlite3.connect(tmp_path / "db.sqlite3")) as raw:
        assert raw.execute("SELECT n FROM numbers").fetchall() == [(1,)]


def figures(host: Host) -> dict[str, tuple[int, int]]:
    """Return the live processes and the checkouts of each alias."""
    return {
        pool["alias"]: (pool["processes"], pool["checkouts"]) for pool in host.status()["pools"]
    }


@pytest.mark.parametrize("is_read", [False, True], ids=["unread", "read"])
def test_poolstatus__shows_a_process_that_lost_its_descriptors(host: Host, is_read: bool) -> None:
    """The lock went with them; a reader must not take the process for dead and count it twice."""
    worker = host.worker().do("take", "give", "take", "give", "lose")
    if is_read:
        assert figures(host) == {"default": (1, 2), "unopened": (0, 0)}
    worker.do("on unopened", "take", "give")
    assert host.pids() == {worker.pid}
    assert figures(host) == {"default": (1, 2), "unopened": (1, 1)}
    worker.do("on default", "take", "give")
    assert figures(host) == {"default": (1, 3), "unopened": (1, 1)}
    worker.leave()
    assert figures(host) == {"default": (0, 3), "unopened": (0, 1)}


def test_poolstatus__shows_what_a_process_opens_when_its_board_is_gone_too(host: Host) -> None:
    worker = host.worker().do("take", "give", "lose")
    for board in (host.folder / "boards").glob("*.board"):
        board.unlink()
    worker.do("on unopened", "take", "give")
    assert host.pids() == {worker.pid}
    assert figures(host) == {"default": (0, 0), "unopened": (1, 1)}
    worker.leave()
    assert figures(host) == {"default": (0, 0), "unopened": (0, 1)}
