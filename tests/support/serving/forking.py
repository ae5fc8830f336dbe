"""A program whose children come and go in the midst of its transaction.

It says "undisturbed" if that harmed neither the transaction nor any connection of its own.
With a second argument the transaction is another thread's, which forked children do not have.
"""

import gc
import multiprocessing
import os
import queue
import sys
import threading
import warnings
from collections.abc import Callable
from functools import partial

import django
from django.db import DatabaseError, connection, connections, transaction

from tests.support.serving import work

kept: list[object] = []


def child(how: str) -> None:
    django.setup()
    from django_poolrouter import pools

    # A forked child is in the parent's atomic block: no query may run there any more.
    own = connections["default"].copy()
    with own.cursor() as cursor:
        assert pools["default"].status().connects == 1
        try:
            cursor.execute("UPDATE numbers SET n = 100 WHERE n = 99")
        except DatabaseError:  # not within the little time that it may wait
            pass
        else:
            raise AssertionError("the parent's lock is gone")
    if how == "leaves it open":
        kept.append(own)
    else:
        own.close()
    del own, cursor
    gc.collect()


def have_child(how: str) -> None:
    if how in {"fork", "spawn", "forkserver"}:
        process = multiprocessing.get_context(how).Process(target=child, args=[how])
        process.start()
        process.join()
        assert process.exitcode == 0
        return
    pid = os.fork()
    if pid == 0:
        if how == "ends at once":
            os._exit(0)
        if how != "does nothing":
            child(how)
        sys.exit(0)  # unwinds the parent's blocks, runs atexit and finalizers
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def transact(have_child: Callable[[], None]) -> None:
    from django_poolrouter import pools

    pool = pools["default"]
    pool.execute("DROP TABLE IF EXISTS numbers")
    pool.execute("CREATE TABLE numbers (n integer PRIMARY KEY)")
    pool.execute("INSERT INTO numbers VALUES (99)")
    work.leave_idle()
    with pool.connection() as leased:
        with transaction.atomic():
            for number in range(3):
                pool.execute("INSERT INTO numbers VALUES (%s)", [number])
                pool.execute("UPDATE numbers SET n = 99 WHERE n = 99")
                have_child()
        leased.cursor().execute("SELECT n FROM numbers")
    assert pool.execute("SELECT n FROM numbers ORDER BY n") == [(0,), (1,), (2,), (99,)]
    status = pool.status()
    assert (status.checkedout, status.lost, status.connects) == (1, 0, 3), status
    pool.execute("DROP TABLE numbers")
    connection.close()
    print("undisturbed")


def transact_in_a_thread(have_child: Callable[[], None]) -> None:
    """Have the children here, when the thread with the transaction asks for one."""
    asked: queue.SimpleQueue[threading.Event | None] = queue.SimpleQueue()

    def ask() -> None:
        asked.put(done := threading.Event())
        done.wait()

    def work() -> None:
        try:
            transact(ask)
        finally:
            asked.put(None)

    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while (done := asked.get()) is not None:
        have_child()
        done.set()
    thread.join()


def main(how: str, *in_a_thread: str) -> None:
    django.setup()
    (transact_in_a_thread if in_a_thread else transact)(partial(have_child, how))


if __name__ == "__main__":
    main(*sys.argv[1:])
