"""Runs Python programs without the start of Python: it has imported Django, and forks for each.

`tests.support.programs` starts it and orders programs from it. A program begins as a new Python
process would, but with Django and the drivers imported. It imports django_poolrouter itself.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import selectors
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from fcntl import F_DUPFD, fcntl
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any

IMPORTED = (
    "django.core.management",
    "django.core.management.commands.check",
    "django.db.backends.mysql.base",
    "django.db.backends.postgresql.base",
    "django.db.backends.sqlite3.base",
    "django.db.models",
    "django.urls",
    "django.utils.log",
    "django.views.debug",
)
LARGEST = 200_000
"""Bytes of an order: the arguments and the environment of a program."""
APART = 900
"""A descriptor beyond those that programs have."""
MOST = 16
"""Descriptors that come with an order."""


Run = Callable[[], Any]


def serve(control: socket.socket) -> Run:
    """Fork for each order. Returns in a child what it has to run, and at the end of orders."""
    with control, selectors.DefaultSelector() as running:
        running.register(control, selectors.EVENT_READ)
        while True:
            for key, _ in running.select():
                if key.fileobj is not control:
                    tell_end(running, key)
                elif not (order := receive(control)):
                    return sys.exit
                elif run := start(running, *order):
                    return run


def receive(control: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Return what to run, a descriptor for reports about it, and those that it gets."""
    message, descriptors, *_ = socket.recv_fds(control, LARGEST, MOST)
    return (json.loads(message), descriptors) if message else None


def start(
    running: selectors.BaseSelector, order: dict[str, Any], descriptors: list[int]
) -> Run | None:
    """Fork. Returns in the child what it has to run; reports the child's number in the parent."""
    report, *files = descriptors
    if not (pid := os.fork()):
        os.close(report)
        close_all(running)
        return prepare(files, **order)
    for file in files:
        os.close(file)
    os.write(report, f"{pid}\n".encode())
    running.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, report))
    return None


def close_all(running: selectors.BaseSelector) -> None:
    """Close, in a child, what the server has open for other programs."""
    for key in running.get_map().values():
        if key.data:
            _, report = key.data
            os.close(key.fd)
            os.close(report)


def tell_end(running: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    """Report how a program ended. The test that started it may have gone."""
    running.unregister(key.fileobj)
    os.close(key.fd)
    pid, report = key.data
    _, status = os.waitpid(pid, 0)
    with suppress(BrokenPipeError):
        os.write(report, f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os.close(report)


def prepare(
    files: list[int],
    numbers: list[int],
    arguments: list[str],
    environment: dict[str, str],
    cwd: str,
    session: bool,
) -> Run:
    """Make this process what Python makes of it, and return what runs the program."""
    if session:
        os.setsid()
    place(files, numbers)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    option, what, *rest = arguments
    folders = environment.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [cwd if option == "-m" else "", *filter(None, folders)]
    sys.argv = [option, *rest]
    # A module that the collector knows: at the end it closes the files that this one refers to.
    sys.modules["forkserver"] = sys.modules["__main__"]
    main = sys.modules["__main__"] = ModuleType("__main__")
    if option == "-m":
        return partial(runpy._run_module_as_main, what)
    return partial(exec, compile(what, "<string>", "exec"), vars(main))


def place(files: list[int], numbers: list[int]) -> None:
    """Give descriptors the numbers that the program knows them by."""
    apart = [fcntl(file, F_DUPFD, APART) for file in files]
    for file in files:
        os.close(file)
    for file, number in zip(apart, numbers, strict=True):
        os.dup2(file, number)
        os.close(file)


if __name__ == "__main__":
    _, number, *ready = sys.argv
    for name in IMPORTED if ready else ():
        with suppress(ImportError):  # a driver that is not installed
            import_module(name)
    # The collector would look at all of that in each program, and so copy the memory.
    gc.freeze()
    serve(socket.socket(fileno=int(number)))()
