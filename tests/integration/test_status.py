"""What other processes see of a process's pools."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Vendor
from tests.databases import ENGINES, eventually

ROOT = Path(__file__).parents[2]
SETTINGS = """
import json, os
SECRET_KEY = os.environ.get("KEY", "for-tests")
INSTALLED_APPS = ["django_poolrouter"]
POOLROUTER = {"PROFILES": {"tiny": {"pool_size": 2, "max_overflow": 1, "pool_timeout": 30}}}
NAME = os.environ["NAME"]
DATABASES = {
    "default": {
        "ENGINE": "django_poolrouter.backends.sqlite3", "NAME": NAME,
        **json.loads(os.environ.get("SERVER", "{}")), "OPTIONS": {"pool": "tiny"},
    },
    "unopened": {
        "ENGINE": "django_poolrouter.backends.sqlite3", "NAME": NAME, "OPTIONS": {"pool": "batch"},
        "ROUTER": {"REPLICA_OF": "default"},
    },
    "unpooled": {
        "ENGINE": "django_poolrouter.backends.sqlite3", "NAME": NAME, "OPTIONS": {"pool": False},
    },
}
"""
WORKER = """
import sys, threading
import django; django.setup()
from django.db import connection
from django_poolrouter import pools
pool = pools["default"]
leases = []
for line in sys.stdin:
    match line.split():
        case ["take"]: leases.append(pool.checkout())
        case ["give"]: lease = leases.pop(); lease.pool.checkin(lease)
        case ["run", *sql]: leases[-1].connection.cursor().execute(" ".join(sql))
        case ["wait"]: threading.Thread(target=pool.checkout, daemon=True).start()
        case ["fork"]:
            import os
            if os.fork() == 0:
                import time; time.sleep(60); os._exit(0)
        case ["close"]: pools.dispose_all()
        case ["thread"]: print(threading.get_ident())
    print("done", flush=True)
"""


class Host:
    """A project on this host: its workers, and commands run from another shell."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "hostsettings.py").write_text(SETTINGS)
        self.environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
            "DJANGO_SETTINGS_MODULE": "hostsettings",
            "KEY": str(folder),  # a project of its own: totals outlive processes
            "NAME": str(folder / "db.sqlite3"),
            "POOLROUTER_RUNTIME_DIR": str(folder / "boards"),
        }
        self.workers: list[Worker] = []

    def worker(self, **environment: str) -> Worker:
        worker = Worker(self.environment | environment)
        self.workers.append(worker)
        return worker

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run django-admin from a folder and environment that share little with the workers'."""
        return subprocess.run(
            [sys.executable, "-m", "django", *arguments],
            env=self.environment | environment,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def status(self, *arguments: str, **environment: str) -> dict[str, Any]:
        done = self.run("poolstatus", "--json", *arguments, **environment)
        assert done.returncode == 0, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def default(self) -> dict[str, Any]:
        return next(pool for pool in self.status()["pools"] if pool["alias"] == "default")

    def connections(self, *arguments: str) -> list[dict[str, Any]]:
        processes = self.status("--database", "default", "--connections", *arguments)["processes"]
        return [
            c for process in processes for pool in process["pools"] for c in pool["connections"]
        ]

    def pids(self) -> set[int]:
        return {process["pid"] for process in self.status()["processes"]}


class Worker:
    """A process that does with its pool what it is told."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self.process.pid

    def do(self, *verbs: str) -> Worker:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        for verb in verbs:
            self.process.stdin.write(f"{verb}\n")
            self.process.stdin.flush()
            assert self.process.stdout.readline() == "done\n"
        return self

    @property
    def thread(self) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("thread\n")
        self.process.stdin.flush()
        number = int(self.process.stdout.readline())
        assert self.process.stdout.readline() == "done\n"
        return number

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    for worker in host.workers:
        worker.end()


def test_poolstatus__lists_every_live_process(host: Host) -> None:
    workers = [host.worker().do("take", "take", "give") for _ in range(2)]
    status = host.status()
    assert {process["pid"] for process in status["processes"]} == {w.pid for w in workers}
    assert status["version"] == 1
    default = next(pool for pool in status["pools"] if pool["alias"] == "default")
    expected = {
        "role": "primary",
        "cluster": "default",
        "vendor": "sqlite",
        "profile": "tiny",
        "processes": 2,
        "size": 4,
        "max": 6,
        "open": 4,
        "in_use": 2,
        "idle": 2,
        "overflow": 0,
        "waiting": 0,
        "checkouts": 4,
        "connects": 4,
        "connect_errors": 0,
        "timeouts": 0,
    }
    assert expected.items() <= default.items()
    assert default["oldest_use_s"] > 0


def test_poolstatus__lists_pools_that_nobody_opened(host: Host) -> None:
    status = host.status()
    assert [(pool["alias"], pool["processes"]) for pool in status["pools"]] == [
        ("default", 0),
        ("unopened", 0),
    ]
    assert (status["pools"][1]["role"], status["pools"][1]["cluster"]) == ("replica", "default")
    assert (status["pools"][1]["size"], status["pools"][1]["max"]) == (5, 15)
    assert status["processes"] == []


def test_poolstatus__does_not_show_itself(host: Host) -> None:
    assert host.pids() == set()
    assert list((host.folder / "boards").glob("*")) == []


def test_poolstatus__follows_each_checkout(host: Host) -> None:
    worker = host.worker().do("take")
    assert host.default()["in_use"] == 1
    worker.do("take", "take")
    assert (host.default()["in_use"], host.default()["overflow"]) == (3, 1)
    worker.do("wait")
    waiting = eventually(lambda: (pool := host.default())["waiting"] and pool)
    assert waiting["oldest_wait_s"] > 0
    worker.do("give", "give")
    assert host.default()["waiting"] == 0


def test_killed_process__is_gone_and_its_board_removed(host: Host) -> None:
    dead, alive = host.worker().do("take"), host.worker().do("take")
    assert host.pids() == {dead.pid, alive.pid}
    os.kill(dead.pid, signal.SIGKILL)
    dead.process.wait()
    assert host.pids() == {alive.pid}
    assert len(list((host.folder / "boards").glob("*.board"))) == 1


def test_stopped_process__still_shows_the_truth(host: Host) -> None:
    worker = host.worker().do("take")
    os.kill(worker.pid, signal.SIGSTOP)
    try:
        assert host.default()["in_use"] == 1
    finally:
        os.kill(worker.pid, signal.SIGCONT)


def test_ended_process__leaves_no_board(host: Host) -> None:
    worker = host.worker().do("take")
    assert worker.process.stdin is not None
    worker.process.stdin.close()
    assert worker.process.wait(10) == 0
    assert list((host.folder / "boards").glob("*.board")) == []


def test_child_of_a_killed_process__does_not_keep_it_listed(host: Host) -> None:
    worker = host.worker().do("take", "fork")
    os.kill(worker.pid, signal.SIGKILL)
    worker.process.wait()
    assert host.pids() == set()


def test_closed_and_reopened_pool__goes_on_counting(host: Host) -> None:
    worker = host.worker()
    for _ in range(3):
        worker.do("take", "give", "close")
    worker.do("take")
    pool = host.default()
    assert (pool["checkouts"], pool["open"], pool["processes"]) == (4, 1, 1)


def test_other_project__is_not_shown(host: Host) -> None:
    host.worker(KEY="another project").do("take")
    assert host.pids() == set()
    assert len(host.status(KEY="another project")["processes"]) == 1


@pytest.mark.parametrize("option", ["--processes", "--connections"])
def test_table__is_aligned_and_complete(host: Host, option: str) -> None:
    worker = host.worker().do("take")
    done = host.run("poolstatus", option)
    heading, first, *_ = done.stdout.splitlines()
    assert heading.split()[:4] == ["ALIAS", "ROLE", "PROFILE", "PROCS"]
    assert first.split()[:4] == ["default", "primary", "tiny", "1"]
    assert str(worker.pid) in done.stdout
    assert "1 live process" in done.stdout
    assert "\x1b" not in done.stdout


def test_color__can_be_forced_and_refused(host: Host) -> None:
    assert "\x1b[" in host.run("poolstatus", "--force-color").stdout
    assert "\x1b[" not in host.run("poolstatus", NO_COLOR="1").stdout


def test_fail_on__tells_by_exit_code(host: Host) -> None:
    worker = host.worker().do("take", "take", "take")
    assert host.run("poolstatus", "--fail-on", "waiting").returncode == 0
    worker.do("wait")
    eventually(lambda: host.default()["waiting"])
    assert host.run("poolstatus", "--fail-on", "waiting").returncode == 1
    assert host.run("poolstatus", "--fail-on", "exhausted").returncode == 1
    assert host.run("poolstatus", "--fail-on", "unhealthy").returncode == 0
    missing = str(host.folder / "no" / "such" / "folder.sqlite3")
    assert host.run("poolstatus", "--fail-on", "unhealthy", NAME=missing).returncode == 1


def test_database__limits_the_report(host: Host) -> None:
    host.worker().do("take")
    assert [pool["alias"] for pool in host.status("--database", "unopened")["pools"]] == [
        "unopened"
    ]
    wrong = host.run("poolstatus", "--database", "nope")
    assert (wrong.returncode, "'nope' not configured" in wrong.stderr) == (1, True)


def test_watch__repeats_until_interrupted(host: Host) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "django", "poolstatus", "--json", "--watch", "0.1"],
        env=host.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout:
        documents = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.send_signal(signal.SIGINT)
        process.stdout.read()
    assert process.wait(10) == 0
    assert documents[0]["generated_at"] < documents[1]["generated_at"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda boards: boards.write_text("a file is in the way"),
        lambda boards: boards.symlink_to("/nonexistent/place"),
    ],
    ids=["file", "dangling link"],
)
def test_unusable_folder__costs_the_pools_nothing(
    host: Host, spoil: Callable[[Path], Any], tmp_path: Path
) -> None:
    spoil(host.folder / "boards")
    host.worker().do("take")
    assert host.default()["in_use"] == 1  # in the next folder


def test_garbage_in_the_folder__is_passed_over(host: Host) -> None:
    worker = host.worker().do("take")
    board = next((host.folder / "boards").glob("*.board"))
    for token, content in {"1_ffff": b"", "2_ffff": b"x" * 5000}.items():
        name = f"{board.name.split('-')[0]}-{token}.board"
        board.with_name(name).write_bytes(content)
    assert host.pids() == {worker.pid}


def test_server__names_a_connection_left_idle_in_transaction(host: Host, server: Vendor) -> None:
    host.environment["SERVER"] = json.dumps({"ENGINE": ENGINES[server.name], **server.settings})
    # MariaDB knows of a transaction when it has touched a table, and keeps no last query.
    look, query = {
        "postgresql": ("SELECT 4711", "SELECT 4711"),
        "mariadb": ("SELECT 1 FROM mysql.innodb_table_stats", None),
    }[server.name]
    worker = host.worker().do("take", "take", "give", "take", "run BEGIN", f"run {look}")
    [process] = host.status("--server", "--database", "default")["processes"]
    idle, holding = sorted(process["pools"][0]["connections"], key=lambda c: c["uses"])
    assert process["pid"] == worker.pid
    assert holding["state"] == idle["state"] == "in_use"
    assert holding["thread"] == worker.thread
    assert idle["server"]["state"] == "idle"
    assert holding["server"]["state"] == "idle in transaction"
    assert holding["server"]["transaction_age_s"] >= 0
    assert holding["server"]["query"] == query
    assert "idle in transaction" in host.run("poolstatus", "--connections", "--server").stdout


def test_server__tells_which_connections_it_does_not_know(host: Host, postgresql: Any) -> None:
    settings = {"ENGINE": ENGINES["postgresql"], **postgresql.settings("primary", "postgres")}
    host.environment["SERVER"] = json.dumps(settings)
    host.worker().do("take")
    [connection] = host.connections("--server")
    postgresql.sql("primary", f"SELECT pg_terminate_backend({connection['backend']}, 10000)")
    [connection] = host.connections("--server")
    assert (connection["state"], connection["server"]["state"]) == ("in_use", "gone")


def test_server__that_does_not_answer_is_a_line_and_no_failure(host: Host) -> None:
    host.worker().do("take")
    missing = str(host.folder / "no" / "such" / "folder.sqlite3")
    done = host.run("poolstatus", "--server", NAME=missing)
    assert done.returncode == 0
    assert "warning: cannot ask the server of 'default': unable to open" in done.stdout
    assert "in_use" in done.stdout


def test_board__holds_no_secret(host: Host) -> None:
    host.worker(KEY="a-secret-key").do("take")
    board = next((host.folder / "boards").glob("*.board"))
    assert b"secret" not in board.read_bytes()
    assert board.stat().st_mode & 0o077 == 0
    assert board.parent.stat().st_mode & 0o077 == 0


def test_poolcheck__tells_who_answers(host: Host) -> None:
    Path(host.environment["NAME"]).touch()
    done = host.run("poolcheck")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split()[:2] for line in done.stdout.splitlines()[1:]] == [
        ["default", "primary"],
        ["unopened", "replica"],
        ["unpooled", "standalone"],
    ]


def test_poolcheck__exits_with_1_when_one_does_not_answer(host: Host) -> None:
    done = host.run("poolcheck", "--json", NAME=str(host.folder / "no" / "such.sqlite3"))
    assert done.returncode == 1
    default = json.loads(done.stdout)["databases"][0]
    assert (default["healthy"], default["error"]) == (False, "unable to open database file")
