"""How processes end: at exit, by signals, as forked children."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.databases import ENGINES
from tests.support.programs import Program
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[3]
PREAMBLE = """
import atexit, gc, os, signal, sys, threading, time, warnings
warnings.simplefilter("error")
closed = []
# Registered first, so it runs last: after the pools were disposed of.
atexit.register(lambda: print("open at exit:", [pool.status().open for pool in closed]))
import django
from django.conf import settings
settings.configure(
    SECRET_KEY="for-tests", INSTALLED_APPS=["django_poolrouter"], DATABASES={databases!r}
)
django.setup()
from django.db import connection
from django_poolrouter import PoolManager, pools
pool = pools["default"]
closed.append(pool)
with pool.connection(), pool.connection():
    pass
def have_child():
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
def housekeepers():
    return [thread.name for thread in threading.enumerate() if "housekeeper" in thread.name]
def session(cursor=None):
    with connection.cursor() as cursor:
        cursor.execute({session!r})
        return cursor.fetchone()[0]
"""


@pytest.fixture
def start(
    postgresql_database: dict[str, str], tmp_path: Path
) -> Iterator[Callable[[str], Program]]:
    """Start a process with two idle connections to PostgreSQL that then runs some code."""
    databases = {
        "default": {
            "ENGINE": ENGINES["postgresql"],
            **postgresql_database,
            "OPTIONS": {"application_name": tmp_path.name},
        }
    }
    preamble = PREAMBLE.format(databases=databases, session="SELECT pg_backend_pid()")

    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with ExitStack() as stack:
        yield lambda code: stack.enter_context(
            Program(["-c", preamble + code], environment, stderr=subprocess.STDOUT)
        )


@pytest.fixture
def sessions(postgresql: Any, tmp_path: Path) -> Any:
    """Tells how many sessions the server has of the test's processes."""
    sql = f"SELECT count(*) FROM pg_stat_activity WHERE application_name = '{tmp_path.name}'"
    return lambda: int(postgresql.sql("primary", sql))


def finish(process: Program) -> str:
    process.stdin.close()
    output = process.stdout.read()
    process.wait(30)
    return output


def test_exit__disposes_of_idle_and_leased_connections(start: Any, sessions: Any) -> None:
    process = start("connection.ensure_connection(); input(); print('bye')")
    eventually(lambda: sessions() == 2)
    output = finish(process)
    assert "EOFError" in output
    assert "open at exit: [0]" in output
    eventually(lambda: sessions() == 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal__cleans_up_and_then_kills_as_it_would_have(
    start: Any, sessions: Any, number: signal.Signals
) -> None:
    process = start(
        "signal.signal(signal.SIGINT, signal.SIG_DFL)\n"
        "class Told:\n"
        "    def dispose(self): os.write(1, b'told\\n')\n"
        "told = Told(); PoolManager.register(told)\n"
        "PoolManager.setup_signal_handlers()\n"
        "print('ready', flush=True)\n"
        "time.sleep(30)\n"
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert finish(process) == "told\n"
    assert process.returncode == -number
    eventually(lambda: sessions() == 0)


def test_signal__runs_the_handler_that_was_there_before(start: Any) -> None:
    process = start(
        "def before(number, frame):\n"
        "    print('open before:', pool.status().open); sys.exit(7)\n"
        "signal.signal(signal.SIGTERM, before)\n"
        "PoolManager.setup_signal_handlers()\n"
        "PoolManager.setup_signal_handlers()\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "time.sleep(30)\n"
    )
    assert "open before: 0\n" in finish(process)
    assert process.returncode == 7


def test_signal__does_not_deadlock_on_a_lock_of_the_interrupted_code(start: Any) -> None:
    process = start(
        "import django_poolrouter.process.shutdown as ending; ending.PATIENCE = 0.2\n"
        "PoolManager.setup_signal_handlers()\n"
        "from tests.support.insides import state_of\n"
        "with state_of(pool._pool).lock:\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(30)\n"
    )
    finish(process)
    assert process.returncode == -signal.SIGTERM


def test_ignored_signal__stays_ignored(start: Any) -> None:
    process = start(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "PoolManager.setup_signal_handlers()\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "print('alive', pool.status().open)\n"
    )
    assert "alive 2" in finish(process)
    assert process.returncode == 0


CHILD = """
connection.ensure_connection()
mine = session()
leased = pool.checkout()
child = os.fork()
if child == 0:
    assert pools["default"].status().open == 0, "the child inherited connections"
    assert session() != mine
    {leave}
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert session() == mine, "the child ended the parent's session"
leased.connection.execute("SELECT 1")
leased.pool.checkin(leased)
with pool.connection() as first, pool.connection() as second:
    first.execute("SELECT 1"), second.execute("SELECT 1")
assert pool.status().lost == 0
print("parent is well")
"""


@pytest.mark.parametrize(
    "leave",
    ["os._exit(0)", "sys.exit(0)", "del leased, pool; gc.collect(); sys.exit(0)"],
    ids=["_exit", "exit", "garbage collection"],
)
def test_forked_child__never_touches_its_parents_connections(start: Any, leave: str) -> None:
    process = start(CHILD.format(leave=leave))
    assert "parent is well" in finish(process)
    assert process.returncode == 0


def test_fork__raises_no_warning_of_running_threads(start: Any) -> None:
    process = start(
        "assert housekeepers() == ['poolrouter-housekeeper']\nhave_child()\nprint('quiet')\n"
    )
    output = finish(process)
    assert "quiet" in output
    assert "Warning" not in output


def test_fork__ends_no_upkeep_for_good(start: Any) -> None:
    """The thread stops for the fork; what is used afterwards is looked after again."""
    process = start(
        "have_child()\n"
        "assert housekeepers() == []\n"
        "pools['default'].execute('SELECT 1')\n"
        "assert pools['default'].status().connects == 2\n"
        "print(*housekeepers())\n"
    )
    assert finish(process).startswith("poolrouter-housekeeper\n")


def test_fork__ends_no_upkeep_that_was_asked_for(start: Any) -> None:
    """Of a process, say, that forks workers and is itself at rest."""
    process = start(
        "warnings.simplefilter('ignore', DeprecationWarning)\n"
        "from django_poolrouter.process.registry import registry\n"
        "class Asking: upkeep_interval, asks_for_thread, upkeep = 0.1, True, lambda self: None\n"
        "asking = Asking()\n"
        "registry.housekeeper.watch(asking)\n"
        "have_child()\n"
        "print(*housekeepers())\n"
    )
    assert finish(process).startswith("poolrouter-housekeeper\n")


def test_forked_child__ends_whatever_lock_its_parent_held(start: Any) -> None:
    process = start(
        "warnings.simplefilter('ignore', DeprecationWarning)\n"
        "held, done = threading.Event(), threading.Event()\n"
        "def hold():\n"
        "    with pools['default']._lock:\n"
        "        held.set()\n"
        "        done.wait()\n"
        "threading.Thread(target=hold, daemon=True).start()\n"
        "held.wait()\n"
        "child = os.fork()\n"
        "if child == 0: sys.exit(0)\n"
        "done.set()\n"
        "signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))\n"
        "signal.alarm(20)\n"
        "print('ended with', os.waitpid(child, 0)[1])\n"
    )
    assert "ended with 0\n" in finish(process)
