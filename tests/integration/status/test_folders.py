"""Where boards lie when the host makes it hard: other environments, full and read-only disks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.host import Host
from tests.support.programs import run
from tests.support.skips import NOT_TESTED

Mount = Callable[..., Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mount a small disk in memory; it is gone after the test."""
    with ExitStack() as stack:

        def mount(options: str) -> Path:
            folder = tmp_path / "disk"
            folder.mkdir()
            command = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
            if os.geteuid() != 0 or subprocess.run(command, check=False).returncode:
                pytest.skip(f"{NOT_TESTED}a full disk in memory (only root can mount one)")
            stack.callback(subprocess.run, ["umount", "-l", str(folder)], check=True)
            return folder

        yield mount


def fill(folder: Path) -> None:
    """Leave no byte free."""
    with (folder / "filler").open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError:
            return


# -- other environments ------------------------------------------------------------------


def test_service_with_a_private_tmp__is_seen_from_a_shell(host: Host) -> None:
    """As systemd's PrivateTmp= does: what both call the folder for temporary files differs."""
    del host.environment["POOLROUTER_RUNTIME_DIR"]
    for name in ("service", "shell"):
        (host.folder / name).mkdir()
    worker = host.worker(TMPDIR=str(host.folder / "service")).do("take")
    assert [p["pid"] for p in host.status(TMPDIR=str(host.folder / "shell"))["processes"]] == [
        worker.pid
    ]


def test_setting__names_the_folder_for_service_and_shell(host: Host) -> None:
    del host.environment["POOLROUTER_RUNTIME_DIR"]
    host.environment["POOLROUTER"] = json.dumps({"RUNTIME_DIR": str(host.folder / "run")})
    worker = host.worker().do("take")
    assert len(list((host.folder / "run").glob("*.board"))) == 1
    assert host.pids() == {worker.pid}


# -- closed folders ------------------------------------------------------------------------

NOBODY = 65534
SHELL = """
import contextlib, importlib, os, sys
import django; django.setup()
from django.core.management import call_command, get_commands
from django.db import connection
"""
# All that the code will import, since nobody may not read where Python and Django are, perhaps.
AS_NOBODY = f"""{SHELL}
get_commands()
for name in sys.argv[1:]:
    with contextlib.suppress(ImportError): importlib.import_module(name)
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
"""


@pytest.fixture(params=["below a closed folder", "without permission to list it"])
def closed(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder that nobody (the user of that name) cannot look into."""
    if os.geteuid() != 0:
        pytest.skip(f"{NOT_TESTED}a folder of another user (only root can make one)")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "run")
        folder.mkdir()
        if request.param == "without permission to list it":
            Path(name).chmod(0o755)
            os.chown(folder, NOBODY, NOBODY)
            folder.chmod(0o300)
        yield folder


@pytest.mark.parametrize("control", [False, True], ids=["", "takes instructions"])
def test_closed_folder__is_left_out_and_told(host: Host, closed: Path, *, control: bool) -> None:
    del host.environment["POOLROUTER_RUNTIME_DIR"]
    settings = {"RUNTIME_DIR": str(closed), "CONTROL": control}
    host.environment |= {"POOLROUTER": json.dumps(settings), "NAME": ":memory:"}
    queries = "connection.cursor().execute('SELECT 1'); print('queried')"
    for code, out, errors in [
        (f"{queries}; call_command('poolstatus')", "queried", ""),
        ("call_command('poolstatus')", f"warning: cannot read {closed}: Permission denied", ""),
        ("call_command('check')", "", "poolrouter.W024"),
    ]:
        elsewhere = json.dumps({**settings, "RUNTIME_DIR": str(host.folder / "elsewhere")})
        listing = f"{SHELL}{code}; print(); print(*sys.modules)"
        done = run(["-c", listing], {**host.environment, "POOLROUTER": elsewhere})
        imported = done.stdout.splitlines()[-1].split()
        done = run(["-c", AS_NOBODY + code, *imported], host.environment)
        assert done.returncode == 0, done.stderr
        assert out in done.stdout
        assert errors in done.stderr
    assert list(closed.iterdir()) == [], "what nobody can list is of no use"


# -- nowhere to write ---------------------------------------------------------------------

LIMITED = """
import logging, resource, sys
# Every write fails beyond it, as it does on a full disk; and on each of them, at that.
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
import django; django.setup()
from django_poolrouter import pools
pool = pools["default"]
lease = pool.checkout()
pools["unopened"].checkout()
print(pool.status().checkedout)
"""


@pytest.mark.parametrize("limit", [0, 4096], ids=["not even the header", "no pool"])
def test_full_disks__cost_the_pools_nothing_and_are_told_in_one_line(
    host: Host, limit: int
) -> None:
    Path(host.environment["NAME"]).touch()
    done = subprocess.run(
        [sys.executable, "-c", LIMITED.format(limit=limit)],
        env=host.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
    [line] = done.stderr.splitlines()
    assert line.startswith("pool 'default' is not shown to poolstatus: ")
    assert "File too large" in line


def test_full_disk_in_memory__is_passed_over_for_the_next_folder(host: Host, mount: Mount) -> None:
    folder = mount("size=64k")
    fill(folder)
    worker = host.worker(POOLROUTER_RUNTIME_DIR=str(folder)).do("take")
    assert host.pids() == {worker.pid}
    assert host.default()["in_use"] == 1


def test_read_only_disk__is_passed_over_for_the_next_folder(host: Host, mount: Mount) -> None:
    folder = mount("ro,size=64k")
    worker = host.worker(POOLROUTER_RUNTIME_DIR=str(folder)).do("take")
    assert host.pids() == {worker.pid}


WRITE_ALL = """
import os, sys
from pathlib import Path
import django; django.setup()
from django_poolrouter.status.boards.writer import Board
from tests.integration.status.test_folders import fill
folder = Path(sys.argv[1])
board = Board(folder)
words = board.add_segment({"words": 4096}, 4096)
fill(folder)
for index in range(len(words)):
    words[index] = 1
try:
    board.add_segment({"words": 4096}, 4096)
except OSError as error:
    print(error.strerror)
"""


def test_disk_that_fills_up__never_ends_in_sigbus(host: Host, mount: Mount) -> None:
    folder = mount("size=128k")
    done = run(["-c", WRITE_ALL, str(folder)], host.environment)
    assert (done.returncode, done.stdout) == (0, "No space left on device\n"), done.stderr


READ_WHILE_IT_SHRINKS = """
import os, sys
import django; django.setup()
from django.core.management import call_command
from django_poolrouter.status.boards import layout
parse = layout.parse_json
def shorten_and_parse(text):
    os.truncate(sys.argv[1], layout.HEADER)
    return parse(text)
layout.parse_json = shorten_and_parse
call_command("poolstatus")
"""


def test_board__that_somebody_shortens_while_it_is_read_never_ends_in_sigbus(host: Host) -> None:
    host.worker().do("take")
    [board] = (host.folder / "boards").glob("*.board")
    done = run(["-c", READ_WHILE_IT_SHRINKS, str(board)], host.environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 live process" in done.stdout


def test_totals__that_cannot_be_written_are_read_from_the_boards(host: Host, mount: Mount) -> None:
    folder = mount("size=64k")
    host.environment["POOLROUTER_RUNTIME_DIR"] = str(folder)
    host.worker().do("take").end()
    fill(folder)
    for _ in range(2):
        pool = host.default()
        assert (pool["processes"], pool["ended_processes"], pool["checkouts"]) == (0, 1, 1)
    (folder / "filler").unlink()
    for _ in range(2):
        assert host.default()["checkouts"] == 1
    assert list(folder.glob("*.board")) == []


def test_poolstatus__without_any_folder_says_where_it_looked(host: Host) -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "from django.core.management import execute_from_command_line as run\n"
        "run(['django-admin', 'poolstatus'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=host.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "No live process of this project" in done.stdout
