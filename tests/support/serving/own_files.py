"""A program that opens files of its own when descriptors of the package were closed.

Each file gets one line, which stays in its buffer until the process ends.  If the package writes
to a file or closes it, the file has other content afterwards.
"""

import atexit
import ctypes
import gc
import json
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

LINE = b"a line of the application's\n"
# More than the package has open, so that each of its numbers gets a file.
COUNT = 40
folder = Path(os.environ.get("FOLDER", "."))
files: list[IO[bytes]] = []
sockets: list[socket.socket] = []


def open_files() -> None:
    for _ in range(COUNT):
        file = (folder / f"{os.getpid()}-{len(files)}.own").open("w+b")
        file.write(LINE)
        files.append(file)


def open_sockets() -> None:
    """Give the numbers to sockets, which show what is sent to them."""
    for _ in range(COUNT // 2):
        sockets.extend(socket.socketpair())


def use(*aliases: str) -> None:
    from django.db import connections

    for alias in aliases:
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT 1")
            assert cursor.fetchone() == (1,)


def give_back() -> None:
    from django.db import connections

    connections.close_all()


def lose_descriptors() -> None:
    os.closerange(3, 1024)


def dispose() -> None:
    from django_poolrouter import pools

    pools.dispose_all()


def is_intact(one: socket.socket) -> bool:
    one.setblocking(False)
    try:
        assert not one.recv(100), "something was sent to it"
    except BlockingIOError:
        return True
    return False


# -- what may happen ----------------------------------------------------------------------


def exit_handler() -> None:
    """Ask for a new pool in an exit handler that runs after the package's."""
    use("default")


def opens_at_exit() -> None:
    """Open files while the threads that look at replicas may still be at work."""
    use("replica1")


def new_pools() -> None:
    use("default")
    give_back()
    lose_descriptors()
    open_files()
    use("second", "third", "default")


def lease_is_out() -> None:
    use("default")
    lose_descriptors()
    open_files()
    give_back()
    use("second", "default")


def block_is_open() -> None:
    from django.db import transaction

    with suppress(Exception), transaction.atomic():
        use("default")
        lose_descriptors()
        open_files()
        give_back()  # rolls back; outside of the block, Django itself would have done that
    use("default")


def write_in_wal() -> None:
    from django.db import connections

    with connections["default"].cursor() as cursor:
        cursor.execute("PRAGMA journal_mode = wal")
        cursor.execute("CREATE TABLE numbers (n integer)")
    give_back()
    lose_descriptors()
    open_files()
    with connections["default"].cursor() as cursor:
        cursor.execute("INSERT INTO numbers VALUES (1)")


def disposed() -> None:
    use("default", "second")
    give_back()
    lose_descriptors()
    open_files()
    dispose()


def sockets_are_opened() -> None:
    use("default", "second")
    give_back()
    lose_descriptors()
    open_sockets()
    dispose()
    use("third")
    assert all(map(is_intact, sockets)), "an application's socket was closed"


def forked() -> None:
    use("default", "second")
    give_back()
    lose_descriptors()
    open_files()
    for file in files:  # or else the child writes what is in the buffers, too
        file.flush()
    have_child(os.fork)
    assert all(map(is_own, files)), "a file was closed or replaced"


def is_own(file: IO[bytes]) -> bool:
    return os.path.samestat(os.fstat(file.fileno()), Path(file.name).stat())


def forked_without_hooks() -> None:
    """Fork as uWSGI does; the child loses its descriptors before it uses a pool."""
    use("default", "second")
    give_back()
    have_child(ctypes.PyDLL(None).fork, lose_descriptors, files.clear, open_files)


def forked_without_hooks_to_end() -> None:
    """The child never uses a pool, and leaves the parent's connections alone when it ends."""
    from django_poolrouter import pools

    use("default", "second")
    give_back()
    child = ctypes.PyDLL(None).fork()
    if child == 0:
        sys.exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    use("default")
    assert pools["default"].status().lost == 0, "the child closed the parent's connection"
    open_files()


def have_child(fork: Callable[[], int], *first: Callable[[], Any]) -> None:
    child = fork()
    if child == 0:
        for do in first:
            do()
        use("default", "third")
        gc.collect()
        assert all(map(is_own, files)), "a file was closed or replaced in the child"
        sys.exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    use("third")


def daemon_detaches() -> None:
    become_daemon(detach=True)


def daemon_stays() -> None:
    become_daemon(detach=False)


def become_daemon(*, detach: bool) -> None:
    import daemon

    use("default")
    give_back()
    streams = {"stdout": sys.stdout, "stderr": sys.stderr}
    with daemon.DaemonContext(detach_process=detach, working_directory=Path.cwd(), **streams):
        open_files()
        use("second", "third", "default")


def main(what: str) -> None:
    # Registered before the package's handlers, so these run after them.
    if what == "exit_handler":
        atexit.register(lambda: (open_files(), use("second", "third")))
    if what == "opens_at_exit":
        atexit.register(open_files)
    import django
    from django.conf import settings

    if "DJANGO_SETTINGS_MODULE" not in os.environ:
        settings.configure(
            SECRET_KEY="for-tests",
            INSTALLED_APPS=["django_poolrouter"],
            DATABASES=json.loads(os.environ["DATABASES"]),
        )
    django.setup()
    globals()[what]()
    gc.collect()
    print("done", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
