"""Instructions to all processes of a project: reset, drain, undrain."""

from __future__ import annotations

import json
import os
import signal

import pytest

from tests.support.host import Host
from tests.support.skips import NOT_TESTED
from tests.support.waiting import eventually


@pytest.fixture
def host(host: Host) -> Host:
    """A project whose processes take instructions."""
    host.environment["POOLROUTER"] = json.dumps({"CONTROL": True})
    return host


def test_reset__replaces_every_connection_of_all_processes(host: Host) -> None:
    workers = [host.worker().do("take", "take", "give") for _ in range(2)]
    done = host.run("poolctl", "reset", "default")
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines() == ["reset default: sent to 2 live processes", "done"]
    pool = host.default()
    assert (pool["in_use"], pool["idle"], pool["cleared"]) == (2, 0, 2)
    for worker in workers:
        worker.do("give")
    pool = host.default()
    assert (pool["open"], pool["cleared"]) == (0, 4)
    workers[0].do("take", "give", "take")
    assert host.default()["connects"] == 5, "a new connection is not replaced again"


def test_reset__is_for_one_database(host: Host) -> None:
    host.worker().do("take", "give")
    assert host.run("poolctl", "reset", "unopened").returncode == 0
    assert host.default()["idle"] == 1


def test_reset__tells_who_did_not_answer_and_who_takes_no_instructions(host: Host) -> None:
    stopped = host.worker().do("take")
    deaf = host.worker(POOLROUTER="{}").do("take")
    os.kill(stopped.pid, signal.SIGSTOP)
    try:
        done = host.run("poolctl", "reset", "default", "--wait", "0.1")
    finally:
        os.kill(stopped.pid, signal.SIGCONT)
    assert done.returncode == 1
    assert f"process {stopped.pid} (-c) has not answered" in done.stdout
    assert f"process {deaf.pid} (-c) takes no instructions" in done.stdout
    stopped.do("give")
    assert eventually(lambda: host.default()["cleared"] == 1)


def test_drain__takes_a_replica_out_of_routing_and_undrain_back(host: Host) -> None:
    worker = host.worker().do("take")
    assert worker.ask("read") == "unopened"
    assert host.run("poolctl", "drain", "unopened").returncode == 0
    assert worker.ask("read") == "default"
    later = host.worker()
    assert later.ask("read") == "default", "a process started later does as all"
    assert [pool["state"] for pool in host.status()["pools"]] == ["ok", "drained"]
    assert host.run("poolctl", "undrain", "unopened").returncode == 0
    assert worker.ask("read") == later.ask("read") == "unopened"


def test_drain__before_any_process_runs_holds_for_the_first(host: Host) -> None:
    assert host.run("poolctl", "drain", "unopened").returncode == 0
    assert host.worker().ask("read") == "default"


def test_drain__in_another_folder_holds_until_it_is_taken_back(host: Host) -> None:
    """As when the operator's settings, or those of an hour ago, name no folder."""
    elsewhere = host.environment["POOLROUTER"]
    assert host.run("poolctl", "drain", "unopened").returncode == 0
    settings = {"CONTROL": True, "RUNTIME_DIR": str(host.folder / "run")}
    host.environment["POOLROUTER"] = json.dumps(settings)
    worker = host.worker().do("take")
    assert worker.ask("read") == "default"
    assert host.run("poolctl", "reset", "default").returncode == 0
    assert worker.ask("read") == "default", "another instruction changes nothing about it"
    assert host.run("poolctl", "undrain", "unopened", POOLROUTER=elsewhere).returncode == 0
    assert eventually(lambda: worker.ask("read") == "unopened")


@pytest.mark.skipif(os.geteuid() != 0, reason=f"{NOT_TESTED}files of another user")
def test_instruction__of_another_user_is_none(host: Host) -> None:
    """Anybody may make files in some of the folders, by any name."""
    nobody = 65534
    host.worker().do("take").leave()
    folder = host.folder / "boards"
    project = next(folder.glob("*.retired")).name.split("-")[0]
    forged = folder / f"{project}-{os.getuid()}.control"
    forged.write_text(json.dumps({"number": 1, "resets": {}, "drained": ["unopened"]}))
    os.chown(forged, nobody, nobody)
    assert host.worker().ask("read") == "unopened"
    assert host.run("poolctl", "reset", "default").returncode == 0
    assert host.worker().ask("read") == "unopened", "nor does it count when the next is given"
    assert host.run("poolctl", "drain", "unopened").returncode == 0
    assert host.worker().ask("read") == "default"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("reset", "nope"), "'nope' not configured"),
        (("reset", "unpooled"), "'unpooled' is not pooled"),
        (("drain", "default"), "Only a replica can be drained; the role of 'default' is primary."),
        (("reset", "default", "--wait=nan"), "--wait takes a number of seconds."),
        (("reset", "default", "--wait=-1"), "--wait takes a number of seconds."),
    ],
)
def test_instruction__that_makes_no_sense_is_refused(
    host: Host, arguments: tuple[str, ...], words: str
) -> None:
    done = host.run("poolctl", *arguments)
    assert (done.returncode, words in done.stderr) == (1, True), done.stderr


def test_instruction__needs_the_setting(host: Host) -> None:
    done = host.run("poolctl", "reset", "default", POOLROUTER="{}")
    assert done.returncode == 1
    assert "set POOLROUTER['CONTROL'] = True" in done.stderr
