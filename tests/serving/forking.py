"""A program whose children come and go in the midst of its transaction.

It says "undisturbed" if that harmed neither the transaction nor any connection of its own.
"""

import gc
import multiprocessing
import os
import sys

import django
from django.db import DatabaseError, connection, connections, transaction

from tests.serving import work

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
        if how != "does nothing":
            child(how)
        sys.exit(0)  # unwinds the parent's blocks, runs atexit and finalizers
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def main(how: str) -> None:
    django.setup()
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
                have_child(how)
        leased.cursor().execute("SELECT n FROM numbers")
    assert pool.execute("SELECT n FROM numbers ORDER BY n") == [(0,), (1,), (2,), (99,)]
    status = pool.status()
    assert (status.checkedout, status.lost, status.connects) == (1, 0, 3), status
    pool.execute("DROP TABLE numbers")
    connection.close()
    print("undisturbed")


if __name__ == "__main__":
    main(sys.argv[1])
