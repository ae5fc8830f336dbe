"""Servers and workers as processes, and visitors who keep them busy."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.support.programs import Program

ROOT = Path(__file__).parents[2]


@contextmanager
def listening() -> Iterator[socket.socket]:
    """Listen on a free port, for a server that is told the descriptor."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@contextmanager
def running(
    arguments: Sequence[str], environment: dict[str, str], log: Path, **options: Any
) -> Iterator[None]:
    """Run a program until the end of the block; its children end too, stopped ones as well.

    Args:
        arguments: those of Python.
        environment: all of its variables.
        log: a file for its output and its errors.
        options: of `Program`.

    """
    with (
        log.open("a") as output,
        Program(
            arguments,
            environment,
            cwd=ROOT,
            stdout=output,
            stderr=output,
            start_new_session=True,
            **options,
        ) as program,
    ):
        try:
            yield
        finally:
            _stop(program)


@contextmanager
def visited(
    port: int, path: str = "/", visitors: int = 10, pause: Callable[[], float] = lambda: 0.0
) -> Iterator[None]:
    """Let visitors ask for a page again and again until the end of the block.

    Args:
        port: of the server.
        path: of the page; it says "done".
        visitors: how many at once.
        pause: tells for how many seconds one rests before asking again.

    """
    ended = threading.Event()

    def visit() -> None:
        while not ended.wait(pause()):
            with suppress(OSError, http.client.HTTPException):
                client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
                client.request("GET", path)
                assert client.getresponse().read() == b"done"
                client.close()

    threads = [threading.Thread(target=visit) for _ in range(visitors)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def _stop(program: Program) -> None:
    with suppress(ProcessLookupError):
        os.killpg(program.pid, signal.SIGCONT)
        program.terminate()
    try:
        program.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(program.pid, signal.SIGKILL)
        program.wait()
