"""What other processes see of a process's pools."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Vendor
from tests.support.databases import ENGINES
from tests.support.host import INTERRUPTIBLE, Host
from tests.support.waiting import eventually
from tests.unit.status.test_garbage import BOARDS, INSTRUCTIONS, RETIRED


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
    host.worker().do("take").leave()
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


def test_counters__of_ended_processes_stay(host: Host) -> None:
    killed, ended, alive = (host.worker().do("take", "give", "take") for _ in range(3))
    os.kill(killed.pid, signal.SIGKILL)
    killed.process.wait()
    ended.leave()
    for _ in range(2):
        pool = host.default()
        assert (pool["processes"], pool["ended_processes"]) == (1, 2)
        assert (pool["checkouts"], pool["connects"]) == (6, 3)
        assert (pool["open"], pool["in_use"], pool["max"]) == (1, 1, 3)
    alive.do("give", "take")
    assert host.default()["checkouts"] == 7


def test_counters__of_many_ended_processes_are_added_once(host: Host) -> None:
    """By whoever asks first, while others ask too and workers come and go."""
    workers = [host.worker().do("take") for _ in range(4)]
    for worker in workers:
        worker.end()
    with ThreadPoolExecutor(4) as executor:
        seen = list(executor.map(lambda _: host.default()["checkouts"], range(4)))
    assert seen == [4] * 4
    assert list((host.folder / "boards").glob("*.board")) == []


def test_counters__are_not_added_again_after_a_crash_before_the_board_was_removed(
    host: Host,
) -> None:
    worker = host.worker().do("take")
    worker.end()
    [board] = (host.folder / "boards").glob("*.board")
    content = board.read_bytes()
    assert host.default()["checkouts"] == 1
    board.write_bytes(content)
    assert host.default()["checkouts"] == 1
    assert not board.exists()


def test_workers__clear_away_their_dead_predecessors(host: Host) -> None:
    host.worker().do("take").end()
    host.worker().do("take")
    assert len(list((host.folder / "boards").glob("*.board"))) == 1


def test_project__whose_name_begins_with_anothers_is_another(host: Host) -> None:
    host.worker(NAMESPACE="shop-eu").do("take")
    assert host.status(NAMESPACE="shop")["processes"] == []
    assert len(host.status(NAMESPACE="shop-eu")["processes"]) == 1


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
    done = host.run("poolstatus", "--fail-on", "unhealthy", NAME=missing)
    assert done.returncode == 1
    assert "default: unable to open database file\n" in done.stderr


def test_fail_on__is_of_one_report(host: Host) -> None:
    done = host.run("poolstatus", "--watch", "--fail-on", "waiting")
    assert done.returncode == 1
    assert done.stderr.startswith("CommandError: --fail-on ")


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf"])
def test_watch__takes_seconds(host: Host, seconds: str) -> None:
    done = host.run("poolstatus", f"--watch={seconds}")
    assert done.returncode == 1
    assert done.stderr.startswith("CommandError: --watch takes ")


def test_database__limits_the_report(host: Host) -> None:
    host.worker().do("take")
    assert [pool["alias"] for pool in host.status("--database", "unopened")["pools"]] == [
        "unopened"
    ]
    wrong = host.run("poolstatus", "--database", "nope")
    assert (wrong.returncode, "'nope' not configured" in wrong.stderr) == (1, True)


@pytest.mark.parametrize("option", [[], ["--fail-on", "unhealthy"]])
def test_database__without_a_pool_is_refused(host: Host, option: list[str]) -> None:
    """Nobody would be asked, and that is not healthy."""
    done = host.run("poolstatus", "--database", "unpooled", *option)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "CommandError: Database 'unpooled' is not pooled.\n"


def test_watch__repeats_until_interrupted(host: Host) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE, "poolstatus", "--json", "--watch", "0.1"],
        env=host.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout:
        documents = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.send_signal(signal.SIGINT)
        process.stdout.read()
    assert process.wait(20) == 0
    assert documents[0]["generated_at"] < documents[1]["generated_at"]
    assert documents[0]["pools"][0]["rates"] is None
    assert documents[1]["pools"][0]["rates"]["checkouts_per_s"] == 0


@pytest.mark.parametrize("watch", [[], ["--watch", "0.01"]])
def test_poolstatus__ends_quietly_when_nobody_reads_on(host: Host, watch: list[str]) -> None:
    """As in `poolstatus | head`."""
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE, "poolstatus", *watch],
        env=host.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.close()
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")


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
    """By who looks, and by a worker that starts beside it."""
    host.environment["POOLROUTER"] = json.dumps({"CONTROL": True})
    workers = [host.worker().do("take")]
    folder = host.folder / "boards"
    project = next(folder.glob("*.board")).name.split("-")[0]

    def spoil() -> None:
        for number, content in enumerate(BOARDS.values()):
            (folder / f"{project}-{number}_ffff.board").write_bytes(content)
        for suffix, contents in (("retired", RETIRED), ("control", INSTRUCTIONS)):
            for number, content in enumerate(contents.values()):
                (folder / f"{project}-{number}.{suffix}").write_bytes(content)

    for suffix in ("board", "retired", "control"):
        os.mkfifo(folder / f"{project}-99_aa.{suffix}")
    spoil()
    workers.append(host.worker().do("take"))
    spoil()
    assert host.pids() == {worker.pid for worker in workers}
    spoil()
    workers[0].leave()
    assert workers[1].ask("read") == "unopened"
    assert host.run("poolctl", "drain", "unopened").returncode == 0
    assert workers[1].ask("read") == "default"


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
    assert holding["thread"] == int(worker.ask("thread"))
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


def test_query__cannot_speak_to_the_terminal(host: Host, postgresql: Any) -> None:
    """Whoever uses the site may have chosen what is in it."""
    settings = {"ENGINE": ENGINES["postgresql"], **postgresql.settings("primary", "postgres")}
    host.environment["SERVER"] = json.dumps(settings)
    worker = host.worker().do("take", "run SELECT 'clear\x1b[2J the\x9b1m bell\x07 \u202eback'")
    shown = host.run("poolstatus", "--server").stdout
    assert r"SELECT 'clear\x1b[2J the\x9b1m bell\x07 \u202eback'" in shown
    worker.leave()


@contextmanager
def unprivileged(cluster: Any, create: list[str], drop: list[str]) -> Iterator[dict[str, str]]:
    """Lend an account that may do nothing but sign in."""
    cluster.sql("primary", *create)
    try:
        yield {"USER": "plain", "PASSWORD": "plain"}
    finally:
        cluster.sql("primary", *drop)


def test_server__hides_sessions_of_other_roles_from_who_is_not_in_pg_monitor(
    host: Host, postgresql: Any
) -> None:
    settings = {"ENGINE": ENGINES["postgresql"], **postgresql.settings("primary", "postgres")}
    worker = host.worker(SERVER=json.dumps(settings)).do("take", "run SELECT 4711")
    role = ["CREATE ROLE plain LOGIN PASSWORD 'plain'"], ["DROP ROLE plain"]
    with unprivileged(postgresql, *role) as account:
        host.environment["SERVER"] = json.dumps(settings | account)
        [connection] = host.connections("--server")
        table = host.run("poolstatus", "--server")
    assert connection["backend"]
    assert (connection["server"]["state"], connection["server"]["query"]) == ("hidden", None)
    assert "hidden" in table.stdout
    assert "warning" not in table.stdout
    worker.leave()


def test_server__shows_no_transaction_without_the_privilege_process(
    host: Host, mariadb: Any
) -> None:
    user = ["CREATE USER plain IDENTIFIED BY 'plain'"], ["DROP USER plain"]
    with unprivileged(mariadb, *user) as account:
        settings = mariadb.settings("primary", "information_schema") | account
        host.environment["SERVER"] = json.dumps({"ENGINE": ENGINES["mariadb"], **settings})
        worker = host.worker().do("take", "run BEGIN")
        [connection] = host.connections("--server")
        worker.leave()
    session = connection["server"]
    assert (session["state"], session["transaction_age_s"], session["query"]) == (
        "idle",
        None,
        None,
    )


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
