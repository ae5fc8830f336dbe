"""Under gevent: greenlets wait their turn, a cap is a cap, and no exception loses a connection.

Each test is a program of its own: monkey-patching is for a whole process, and comes first.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.databases import ENGINES

ROOT = Path(__file__).parents[3]
PREAMBLE = """
from gevent import monkey; monkey.patch_all()
import gc, random, threading, traceback, warnings
warnings.simplefilter("error")
import gevent, gevent.lock
import django
from django.conf import settings
settings.configure(
    SECRET_KEY="for-tests", INSTALLED_APPS=["django_poolrouter"], DATABASES={databases!r}
)
django.setup()
from django.db import Error, connection, transaction
from django_poolrouter import PoolTimeout, pools
pool = pools["default"]

def query(sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]

def use_once(number=1):
    try:
        return query(f"SELECT {{number}}")
    finally:
        connection.close()

def greenlets(number, work):
    together = [gevent.spawn(work, n) for n in range(number)]
    gevent.joinall(together, raise_error=True)
    return [each.value for each in together]

def assert_whole():
    "Nothing is out, and as many connections can be had at once as ever."
    status = pool.status()
    assert (status.checkedout, status.waiting, status.opening) == (0, 0, 0), status
    assert status.open == status.checkedin == status.connects - status.closes, status
    use_once()
    leases = [pool.checkout(timeout=5) for _ in range(status.max)]
    try:
        pool.checkout(timeout=0)
        raise AssertionError("more than the maximum")
    except PoolTimeout:
        pass
    for lease in leases:
        lease.connection.execute("SELECT 1")
        lease.pool.checkin(lease)
"""


@pytest.fixture
def run(postgresql_database: dict[str, str], tmp_path: Path) -> Any:
    """Run a program on a pool of three connections to PostgreSQL, patched by gevent."""

    def run(code: str, **options: Any) -> None:
        pool = {"pool_size": 3, "max_overflow": 0, "pool_timeout": 20, **options}
        database = {
            "ENGINE": ENGINES["postgresql"],
            **postgresql_database,
            "OPTIONS": {"application_name": tmp_path.name, "pool": pool},
        }
        preamble = PREAMBLE.format(databases={"default": database})
        done = subprocess.run(
            [sys.executable, "-c", preamble + code],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
                "POOLROUTER_RUNTIME_DIR": str(tmp_path),
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stderr == ""

    return run


def test_locks__are_held_by_greenlets_not_by_their_thread(run: Any) -> None:
    run("""
from django_poolrouter.pooling.waiters import Waiter
from django_poolrouter.process.registry import registry
from tests.support.insides import state_of
def is_free(lock):
    if lock.acquire(False):
        lock.release()
        return True
use_once()
held = [pool._lock, state_of(pool._pool).lock, registry._lock, registry.housekeeper._lock]
for lock in held:
    lock.acquire()
for lock in [*held, Waiter(0)._event]:
    assert not gevent.spawn(is_free, lock).get(), lock
    lock.release()
    assert gevent.spawn(is_free, lock).get(), lock
""")


def test_fifty_greenlets_over_three__are_never_more_than_three_on_the_server(run: Any) -> None:
    run("""
OURS = "FROM pg_stat_activity WHERE application_name = current_setting('application_name')"
def work(number):
    sessions = query(f"SELECT count(*) {OURS}")
    query("SELECT 1 FROM pg_sleep(0.002)")
    connection.close()
    return sessions
assert max(greenlets(50, work)) == 3
assert pool.status().connects == 3
assert_whole()
""")


def test_greenlets__are_served_in_order_of_arrival(run: Any) -> None:
    code = """
order = []
def work(number):
    connection.ensure_connection()
    order.append(number)
    query("SELECT 1")
    connection.close()
greenlets(50, work)
assert order == list(range(50)), order
assert_whole()
"""
    run(code, pool_size=1)


def test_query__lets_other_greenlets_run(run: Any) -> None:
    run("""
query("SELECT pg_advisory_lock(1)")
other = gevent.spawn(query, "SELECT pg_advisory_lock(1)")
while not query("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"):
    gevent.sleep(0)
query("SELECT pg_advisory_unlock(1)")
other.get(timeout=10)
""")


# What a victim does with a connection; each step is one that lets others run.
VICTIM = """
import greenlet
from gevent.lock import Semaphore

class Struck(gevent.Timeout):
    pass

where = set()
def victim():
    try:
        connection.set_autocommit(False)  # so that there is something to roll back
        query("SELECT 1 FROM pg_sleep(0.001)")
        connection.close()
    except (Struck, gevent.GreenletExit) as error:
        where.update(frame.name for frame in traceback.extract_tb(error.__traceback__))
    finally:
        connection.close()

def strike(at, error):
    "Raise the error where the victim lets others run for the at-th time; False if it never does."
    struck = gevent.Greenlet(victim)
    left = at
    def act():
        if not struck.ready():
            struck.throw(error)
    def trace(event, origin_and_target):
        nonlocal left
        if origin_and_target[0] is struck:
            left -= 1
            if left == 0:
                gevent.get_hub().loop.run_callback(act)
    leases = [pool.checkout() for _ in range(held)]
    greenlet.settrace(trace)
    struck.start()
    while leases and not (pool.status().waiting or struck.ready()):
        gevent.sleep(0)
    for lease in leases:
        lease.pool.checkin(lease)
    struck.join()
    greenlet.settrace(None)
    return left <= 0
"""


@pytest.mark.parametrize("error", ["Struck", "gevent.GreenletExit"])
@pytest.mark.parametrize(
    ("before", "held", "points"),
    [
        ("pool.clear()", 0, {"open", "execute", "checkin"}),
        ("pass", 0, {"fault", "execute", "checkin"}),
        ("pass", 3, {"_wait", "fault", "execute", "checkin"}),
    ],
    ids=["opens", "is pinged", "waits"],
)
def test_greenlet_that_is_struck__loses_no_connection_wherever_it_was(
    run: Any, error: str, before: str, held: int, points: set[str]
) -> None:
    run(
        f"{VICTIM}\n"
        f"held = {held}\n"
        "assert_whole()\n"
        "for at in range(1, 100):\n"
        f"    {before}\n"
        f"    if not strike(at, {error}()):\n"
        "        break\n"
        "    assert_whole()\n"
        "else:\n"
        "    raise AssertionError('no end')\n"
        f"assert where >= {points}, where\n",
        ping_after=0,
    )


def test_greenlet_that_is_killed_at_the_moment_of_its_grant__passes_it_on(run: Any) -> None:
    run("""
for broken in (False, True):
    leases = [pool.checkout() for _ in range(3)]
    killed, next_one = (gevent.spawn(use_once, n) for n in (1, 2))
    while pool.status().waiting < 2:
        gevent.sleep(0)
    killed.kill(block=False)  # in the next turn of the event loop
    leases[0].pool.checkin(leases.pop(0), broken=broken)
    assert next_one.get(timeout=10) == 2
    assert isinstance(killed.get(), gevent.GreenletExit)
    for lease in leases:
        lease.pool.checkin(lease)
    assert_whole()
""")


def test_storm_of_timeouts__loses_no_connection(run: Any) -> None:
    run(
        """
dice = random.Random(4711)
hit = served = 0
def work(number):
    global hit, served
    while hit < 50 or served < 50:
        try:
            # The limits grow until this machine, busy as it is, can keep to some.
            with gevent.Timeout(dice.random() / 5 * (1 + hit / 100)):
                with transaction.atomic():
                    query("SELECT 1 FROM pg_sleep(0.001)")
            served += 1
        except (gevent.Timeout, Error):  # the latter: of a block that ends in mid-query
            hit += 1
        finally:
            connection.close()
        if number == 0:
            pool.clear()
greenlets(40, work)
assert_whole()
""",
        ping_after=0,
    )


@pytest.mark.parametrize("how", ["idle", "in a transaction", "killed"])
def test_greenlet_that_ends_without_close__gives_its_lease_back(run: Any, how: str) -> None:
    run(f"""
gc.disable()
def work(number):
    if {how!r} == "in a transaction":
        connection.set_autocommit(False)
    query("SELECT 1")
    if {how!r} == "killed":
        raise gevent.GreenletExit
for _ in range(3):
    greenlets(3, work)
gevent.sleep(0)
assert_whole()
""")


def test_housekeeper__closes_idle_connections(run: Any) -> None:
    code = """
greenlets(3, use_once)
assert pool.status().open
with gevent.Timeout(20):
    while pool.status().open:
        gevent.sleep(0.01)
"""
    run(code, max_idle=0.1)


def test_leak__is_reported_with_the_stack_of_the_greenlet(run: Any) -> None:
    code = """
import logging
said = []
logging.getLogger("django_poolrouter.pool").addFilter(lambda record: said.append(record))
def forgetful_work():
    query("SELECT 1")
    gevent.sleep(20)
    connection.close()
leak = gevent.spawn(forgetful_work)
with gevent.Timeout(20):
    while not said:
        gevent.sleep(0.01)
assert "forgetful_work" in said[0].getMessage(), said[0].getMessage()
leak.kill()
"""
    run(code, leak_after=0.1)
