"""SIGTERM to web servers and task workers: the same end as without us, and no session left.

Each server runs three times at once: without this package, with it, and with it and
`PoolManager.setup_signal_handlers()`.  In each a request or task is under way when the signal
comes: it must end well, on the connection that it holds and on a new one.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import MySQLdb
import psycopg
import pytest

from example_project.demo.site import Address, fetch
from tests.support.databases import ENGINES
from tests.support.doubles import Task
from tests.support.programs import Program
from tests.support.testapp.site import STOCK_ENGINES
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[3]
GUNICORN = ["gunicorn", "--bind=fd://{fd}", "--no-control-socket", "tests.support.serving.wsgi"]
PRELOAD = [*GUNICORN, "--config=python:tests.support.serving.gunicorn_preload"]
SERVERS = {
    "sync": [*GUNICORN, "--worker-class=sync"],
    "gthread": [*GUNICORN, "--worker-class=gthread", "--threads=4"],
    "gevent": [*GUNICORN, "--worker-class=gevent"],
    "uvicorn": ["uvicorn", "--fd={fd}", "tests.support.serving.asgi:application"],
    "celery": [
        *("celery", "--app=tests.support.serving.tasks", "worker", "--concurrency=1"),
        *("--without-gossip", "--without-mingle", "--without-heartbeat"),
    ],
}
STOPPING = re.compile("Handling signal: term|Shutting down|Warm shutdown")
IDLE = 2  # beside the one at the gate
# uvicorn passes signals on at its own end, and Celery tells its children by other means.
TOLD_AT_ONCE = {"sync", "gthread", "gevent"}


class Served:
    """One server with a database and a log of its own; killed with all its children after use."""

    def __init__(self, command: list[str], database: dict[str, Any], folder: Path, **env: str):
        self.database = database
        self.log = folder / "log"
        folder.mkdir()
        with socket.create_server(("127.0.0.1", 0)) as listener, self.log.open("wb") as log:
            self.address: Address = listener.getsockname()
            self.process = Program(
                ["-m", *(each.format(fd=listener.fileno()) for each in command)],
                cwd=ROOT,
                environment={
                    "PATH": os.environ["PATH"],
                    "PYTHONUNBUFFERED": "1",
                    "POOLROUTER_RUNTIME_DIR": str(folder),
                    "DJANGO_SETTINGS_MODULE": "tests.support.serving.settings",
                    "DATABASES": json.dumps({"default": database}),
                    **env,
                },
                pass_fds=[listener.fileno()],
                is_ready="--worker-class=gevent" not in command,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def says(self, pattern: str | re.Pattern[str]) -> re.Match[str] | None:
        return re.search(pattern, self.log.read_text())

    def session(self) -> tuple[int, int]:
        """Return the process that answers a request, and its database session."""
        status, text = fetch(self.address, "/session")
        assert status == 200, self.log.read_text()
        process, session = text.split()
        return int(process), int(session)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.end()


class Postgresql:
    """A database server that knows the sessions of each program, and has a gate."""

    stock_engine = STOCK_ENGINES["postgresql"]
    engine = ENGINES["postgresql"]

    def __init__(self, settings: dict[str, str]) -> None:
        self.settings = settings
        self.observer = psycopg.connect(
            host="127.0.0.1",
            port=settings["PORT"],
            user="postgres",
            dbname=settings["NAME"],
            autocommit=True,
        )
        self.observer.execute("SELECT pg_advisory_lock(4711)")

    def open_the_gate(self) -> None:
        self.observer.execute("SELECT pg_advisory_unlock_all()")

    def database(self, program: str) -> dict[str, Any]:
        return {**self.settings, "OPTIONS": {"application_name": program}}

    def sessions(self, program: str, condition: str = "true") -> set[int]:
        sql = f"SELECT pid FROM pg_stat_activity WHERE application_name = %s AND {condition}"
        return {pid for (pid,) in self.observer.execute(sql, [program])}

    def is_at_the_gate(self, program: str) -> bool:
        return bool(self.sessions(program, "wait_event = 'advisory'"))


class Mariadb:
    """The same; each program has a database of its own."""

    stock_engine = STOCK_ENGINES["mariadb"]
    engine = ENGINES["mariadb"]

    def __init__(self, settings: dict[str, str], create_database: Callable[[str], None]) -> None:
        self.settings = settings
        self.create_database = create_database
        self.observer = MySQLdb.connect(
            host="127.0.0.1",
            port=int(settings["PORT"]),
            user=settings["USER"],
            password=settings["PASSWORD"],
        )
        self.query("CREATE OR REPLACE DATABASE gate")
        self.query("CREATE TABLE gate.gate AS SELECT 1 AS n")
        self.query("SELECT * FROM gate.gate FOR UPDATE")

    def open_the_gate(self) -> None:
        self.observer.rollback()

    def database(self, program: str) -> dict[str, Any]:
        self.create_database(program)
        return {**self.settings, "NAME": program}

    def sessions(self, program: str, condition: str = "true") -> set[int]:
        sql = f"SELECT id FROM information_schema.processlist WHERE db = '{program}'"
        return {number for (number,) in self.query(f"{sql} AND {condition}")}

    def is_at_the_gate(self, program: str) -> bool:
        return bool(self.sessions(program, "info LIKE '%gate.gate%'"))

    def query(self, sql: str) -> Any:
        cursor = self.observer.cursor()
        cursor.execute(sql)
        return cursor.fetchall()


@pytest.fixture
def postgresql_gate(postgresql_database: dict[str, str]) -> Iterator[Postgresql]:
    gate = Postgresql(postgresql_database)
    with closing(gate.observer):
        yield gate


@pytest.fixture
def mariadb_gate(mariadb: Any, mariadb_database: dict[str, str]) -> Iterator[Mariadb]:
    gate = Mariadb(mariadb_database, mariadb.create_database)
    with closing(gate.observer):
        yield gate


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Start programs; all are killed after the test, if they are still there."""
    with ExitStack() as stack:

        def serve(command: list[str], database: dict[str, Any], name: str, **env: str) -> Served:
            served = Served(command, database, tmp_path / name, **env)
            stack.callback(served.kill)
            return served

        yield serve


def check_end(kind: str, gate: Any, serve: Callable[..., Served], name: str) -> None:
    """Stop the three programs, with work under way in each."""
    served = {}
    for how in ("stock", "pooled", "handlers"):
        engine = gate.stock_engine if how == "stock" else gate.engine
        database = {"ENGINE": engine, **gate.database(f"{name}_{how}")}
        env = {"SIGNAL_HANDLERS": "1"} if how == "handlers" else {}
        served[how] = serve(SERVERS[kind], database, how, **env)
    requests = [Task(fetch, each.address, "/hold") for each in served.values() if kind != "celery"]
    for how, each in served.items():
        eventually(lambda: gate.is_at_the_gate(f"{name}_{how}"), 20)  # noqa: B023
        before = gate.sessions(f"{name}_{how}")
        assert len(before) == (1 if how == "stock" else 1 + IDLE)
        each.process.terminate()
    for each in served.values():
        eventually(lambda: each.says(STOPPING))  # noqa: B023
    if kind in TOLD_AT_ONCE:  # what rests is closed, what works is left alone
        eventually(lambda: len(gate.sessions(f"{name}_handlers")) == 1)
    gate.open_the_gate()
    assert [request.result() for request in requests] == [(200, "held")] * len(requests)
    statuses = {how: each.process.wait(15) for how, each in served.items()}
    for how, each in served.items():
        log = each.log.read_text()
        assert "held" in log, log
        assert "Traceback" not in log, log
        assert statuses[how] == statuses["stock"], log
        eventually(lambda: not gate.sessions(f"{name}_{how}"))  # noqa: B023


@pytest.mark.parametrize("kind", SERVERS)
def test_sigterm__ends_a_server_as_it_does_without_us(
    kind: str, postgresql_gate: Postgresql, serve: Any
) -> None:
    check_end(kind, postgresql_gate, serve, f"end_{kind}")


def test_sigterm__ends_a_server_on_mariadb_as_it_does_without_us(
    mariadb_gate: Mariadb, serve: Any
) -> None:
    check_end("gthread", mariadb_gate, serve, "end")


def test_preload__leaves_the_masters_connections_to_the_master(
    postgresql_gate: Postgresql, serve: Any
) -> None:
    database = {"ENGINE": postgresql_gate.engine, **postgresql_gate.database("preload")}
    server = serve(PRELOAD, database, "preload")
    eventually(lambda: server.says("Booting worker.*(.|\n)*Booting worker"), 20)
    masters = postgresql_gate.sessions("preload")
    assert len(masters) == 1 + IDLE

    workers: dict[int, int] = {}
    eventually(lambda: workers.update([server.session()]) or len(workers) == 2)
    assert len({*workers.values(), *masters}) == 2 + len(masters), "sessions are shared"

    for worker in workers:
        os.kill(worker, signal.SIGTERM)
    eventually(lambda: not postgresql_gate.sessions("preload") & {*workers.values()})
    assert postgresql_gate.sessions("preload") >= masters
    server.process.terminate()
    assert server.process.wait(15) == 0
    first, last = (server.says(f"master at {when}: (.*)") for when in ("first", "last"))
    assert first[1] == last[1]
    assert not server.says("Traceback")
    eventually(lambda: not postgresql_gate.sessions("preload"))


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_celery__keeps_its_connection_from_task_to_task(
    kind: str, request: pytest.FixtureRequest, serve: Any
) -> None:
    """Celery closes Django's own pool before and after each task of a prefork worker."""
    gate = request.getfixturevalue(f"{kind}_gate")
    database = {"ENGINE": gate.engine, **gate.database("tasks")}
    database["OPTIONS"] = {**database.get("OPTIONS", {}), "pool": True}
    worker = serve(SERVERS["celery"], database, "tasks", TASKS="session " * 3)
    told = re.compile(r"session (\d+) of (\d+)")
    eventually(lambda: len(told.findall(worker.log.read_text())) == 3, 20)

    sessions, processes = map(set, zip(*told.findall(worker.log.read_text()), strict=True))
    assert len(processes) == 1
    assert {int(session) for session in sessions} == gate.sessions("tasks")
    worker.process.terminate()
    assert worker.process.wait(15) == 0
    eventually(lambda: not gate.sessions("tasks"))
