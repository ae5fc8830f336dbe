"""What poolstatus says, beside what the server counts, under each kind of server and worker.

POOLROUTER_LOAD_SECONDS sets how long each is under load; 3 by default.
"""

from __future__ import annotations

import bisect
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support import programs
from tests.support.databases import ENGINES
from tests.support.host import INTERRUPTIBLE
from tests.support.skips import require_package
from tests.support.waiting import eventually
from tests.support.web import ROOT, listening, running, visited

pytestmark = [pytest.mark.slow, pytest.mark.stress]

SECONDS = float(os.environ.get("POOLROUTER_LOAD_SECONDS", "3"))
# Connections that open or close take so long to be seen by both sides, on a busy machine.
AROUND = 0.25
# Samples that there are at least, however slow the machine is.
FEWEST = 5
# Seconds within which a killed process leaves the list: the load takes the processor, too.
PATIENCE = 10.0
GUNICORN = ("gunicorn", "tests.support.loadsite.wsgi", "--workers=3", "--no-control-socket")
KINDS = {
    "gthread": (*GUNICORN, "--threads=4"),
    "preload": (*GUNICORN, "--threads=4", "--preload"),
    "gevent": (*GUNICORN, "--worker-class=gevent"),
    "uvicorn": (
        *("uvicorn", "tests.support.serving.asgi:application"),
        *("--workers=2", "--lifespan=off"),
    ),
    "celery": (
        *("celery", "-A", "tests.support.loadsite.tasks"),
        *("worker", "--concurrency=3", "-l", "ERROR"),
    ),
}


class Server:
    """The server's own count of the site's connections, taken again and again."""

    def __init__(self, settings: dict[str, str], application: str) -> None:
        self._connection = psycopg.connect(
            host=settings["HOST"],
            port=settings["PORT"],
            user=settings["USER"],
            password=settings["PASSWORD"],
            dbname=settings["NAME"],
            autocommit=True,
        )
        self._application = application
        self.times: list[float] = []
        self.counts: list[int] = []

    def count(self) -> int:
        sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
        row = self._connection.execute(sql, [self._application]).fetchone()
        assert row is not None
        return int(row[0])

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Count all the time, in a thread."""
        ended = threading.Event()

        def watch() -> None:
            while not ended.is_set():
                self.counts.append(self.count())
                self.times.append(time.time())
                ended.wait(0.003)

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def around(self, moment: float) -> list[int]:
        """Return the counts from just before a moment until just after it."""
        first = max(0, bisect.bisect_left(self.times, moment - AROUND) - 1)
        return self.counts[first : bisect.bisect_right(self.times, moment + AROUND) + 1]

    def close(self) -> None:
        self._connection.close()


class Site:
    """The site under load, and a shell beside it."""

    def __init__(self, kind: str, environment: dict[str, str], folder: Path) -> None:
        self.kind = kind
        self.environment = environment
        self.folder = folder

    @contextmanager
    def served(self) -> Iterator[None]:
        """Run the server or the worker until the end of the block."""
        with listening() as listener:
            self._port = listener.getsockname()[1]
            command = ["-m", *KINDS[self.kind]]
            if self.kind == "uvicorn":
                command.append(f"--fd={listener.fileno()}")
            elif self.kind != "celery":
                command.append(f"--bind=fd://{listener.fileno()}")
            is_ready = self.kind != "gevent"
            with self._running(command, pass_fds=[listener.fileno()], is_ready=is_ready):
                yield

    def loaded(self) -> AbstractContextManager[None]:
        """Send requests or tasks until the end of the block."""
        if self.kind == "celery":
            return self._running(["-m", "tests.support.loadsite.tasks", "0.01"])
        # In waves: now all connections are wanted, now but a few.
        return visited(self._port, pause=lambda: 0.3 if time.time() % 1 < 0.5 else 0)

    def status(self, *arguments: str) -> dict[str, Any]:
        """Ask from another shell: with another folder and none of the site's environment."""
        shell = {name: self.environment[name] for name in SHELL}
        done = programs.run(["-m", "django", "poolstatus", "--json", *arguments], shell)
        assert done.returncode == 0, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    @contextmanager
    def shown(self) -> Iterator[list[dict[str, Any]]]:
        """Run ``poolstatus --watch`` in that shell; what it shows is there after the block."""
        documents: list[dict[str, Any]] = []
        shell = {name: self.environment[name] for name in SHELL}
        command = ["-c", INTERRUPTIBLE, "poolstatus", "--json", "--watch", "0.05"]
        output = self.folder / "shown"
        with (
            output.open("w") as file,
            programs.Program(command, shell, stdout=file) as watch,
        ):
            eventually(lambda: output.stat().st_size, 60)
            yield documents
            eventually(lambda: len(output.read_text().splitlines()) >= FEWEST, 60)
            watch.send_signal(signal.SIGINT)
            watch.wait(30)
        documents += map(json.loads, output.read_text().splitlines())

    def _running(self, command: list[str], **options: Any) -> AbstractContextManager[None]:
        return running(command, self.environment, self.folder / "log", **options)


SHELL = ("PATH", "PYTHONPATH", "DJANGO_SETTINGS_MODULE", "KEY", "DATABASE")


@pytest.fixture
def environment(postgresql_database: dict[str, str], tmp_path: Path) -> dict[str, str]:
    database = {
        "ENGINE": ENGINES["postgresql"],
        **postgresql_database,
        "OPTIONS": {
            "application_name": tmp_path.name,
            "pool": {"pool_size": 2, "max_overflow": 3},
        },
    }
    (tmp_path / "broker").mkdir()
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "DJANGO_SETTINGS_MODULE": "tests.support.loadsite.settings",
        "KEY": str(tmp_path),
        "DATABASE": json.dumps(database),
        "BROKER": str(tmp_path / "broker"),
    }


@pytest.fixture
def server(postgresql_database: dict[str, str], tmp_path: Path) -> Iterator[Server]:
    server = Server(postgresql_database, tmp_path.name)
    yield server
    server.close()


@pytest.mark.parametrize("kind", KINDS)
def test_poolstatus__agrees_with_the_server(
    kind: str, environment: dict[str, str], server: Server, tmp_path: Path
) -> None:
    program = "gevent" if kind == "gevent" else KINDS[kind][0]
    require_package(program)
    if kind == "preload":
        environment["USE_BEFORE_FORK"] = "1"
    site = Site(kind, environment, tmp_path)
    with site.served():
        with site.loaded():
            workers = {"uvicorn": 2, "preload": 4}.get(kind, 3)  # preload: the master has a pool
            try:
                eventually(lambda: len(site.status()["processes"]) == workers, 30)
            except AssertionError:
                pytest.fail((tmp_path / "log").read_text())
            with server.watched(), site.shown() as documents:
                time.sleep(SECONDS)
        assert_agreed(documents, server)
        assert_agreed_at_rest(site, server)
        assert_killed_is_gone_and_stopped_is_not(site)


def assert_agreed(documents: list[dict[str, Any]], server: Server) -> None:
    """Every sample lies between the server's counts just before and just after it.

    Give or take those that were opened or closed from the sample before to the one after.
    """
    seen = set()
    exact = 0
    for before, document, after in zip(documents, documents[1:], documents[2:], strict=False):
        counts = server.around(datetime.fromisoformat(document["generated_at"]).timestamp())
        pool = document["pools"][0]
        moving = pool["opening"] + sum(
            after["pools"][0][counter] - before["pools"][0][counter]
            for counter in ("connects", "closes")
        )
        assert min(counts) - moving <= pool["open"] <= max(counts) + moving
        exact += not moving
        seen.add(pool["open"])
    print(f"{len(documents)} samples, {exact} of them at rest, {min(seen)} to {max(seen)} open")


def assert_agreed_at_rest(site: Site, server: Server) -> None:
    def agree() -> bool:
        pool = site.status()["pools"][0]
        return pool["in_use"] == 0 and pool["open"] == server.count()

    eventually(agree, 30)


def assert_killed_is_gone_and_stopped_is_not(site: Site) -> None:
    before = site.status()
    killed, stopped, *_ = sorted(
        before["processes"],
        key=lambda p: (p["started_at"], p["pid"]),
        reverse=True,  # not the master, which would take the workers along
    )
    with site.shown() as documents:
        os.kill(killed["pid"], signal.SIGKILL)
        eventually(lambda: not lives(killed["pid"]))
        ended = time.time()
        os.kill(stopped["pid"], signal.SIGSTOP)
        try:
            after = site.status()
        finally:
            os.kill(stopped["pid"], signal.SIGCONT)
    found = {process["pid"]: process for process in after["processes"]}
    assert killed["pid"] not in found
    [pool] = found[stopped["pid"]]["pools"]
    assert pool["open"] == stopped["pools"][0]["open"]
    assert after["pools"][0]["checkouts"] >= before["pools"][0]["checkouts"]
    listed = [d for d in documents if killed["pid"] in {p["pid"] for p in d["processes"]}]
    assert documents[-1] not in listed
    last = max((datetime.fromisoformat(d["generated_at"]).timestamp() for d in listed), default=0)
    took = last - ended
    assert took < PATIENCE, f"still there after {took:.1f} s"


def lives(pid: int) -> bool:
    """Tell whether a process is there; one that nobody has reaped is."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
