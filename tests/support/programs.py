"""Python programs as processes of their own, from a server that forks: see `forkserver`.

A new Python that imports Django takes several times the CPU time of the command it runs.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Self

SERVER = Path(__file__).with_name("forkserver.py")


class Program:
    """A running program: the part of `subprocess.Popen` that tests use.

    Its standard input is a pipe, and its output is another unless you give a file. Its errors go
    where those of the tests go, unless you give a file or `subprocess.STDOUT`.

    Args:
        arguments: those of Python: `-m`, a module and its arguments, or `-c`, code and its.
        environment: all of its variables.
        cwd: its folder.
        stdout: a file for its output.
        stderr: a file for its errors.
        pass_fds: descriptors that it gets besides, by the same numbers.
        is_ready: whether Django is imported. A program that gevent patches wants to do it later.
        start_new_session: whether it leads a session, so that you can signal its children too.

    """

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        cwd: str | Path = "/",
        stdout: IO[Any] | None = None,
        stderr: IO[Any] | int | None = None,
        pass_fds: Sequence[int] = (),
        is_ready: bool = True,
        start_new_session: bool = False,
    ) -> None:
        self.arguments = arguments
        self.returncode: int | None = None
        order = {
            "numbers": [0, 1, 2, *pass_fds],
            "arguments": arguments,
            "environment": {**environment},
            "cwd": str(cwd),
            "session": start_new_session,
        }
        stdin, to_stdin = os.pipe()
        from_stdout, to_stdout = os.pipe()
        from_report, to_report = os.pipe()
        self.stdin, self.stdout = os.fdopen(to_stdin, "w"), os.fdopen(from_stdout)
        self._report = os.fdopen(from_report, "rb", buffering=0)
        out = stdout.fileno() if stdout else to_stdout
        errors = 2 if stderr is None else out if isinstance(stderr, int) else stderr.fileno()
        files = [to_report, stdin, out, errors, *pass_fds]
        server = _server_for(environment, is_ready)
        socket.send_fds(server, [json.dumps(order).encode()], files)
        for descriptor in (stdin, to_stdout, to_report):
            os.close(descriptor)
        self.pid = int(self._report.readline())

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status, as Popen does: -9 after SIGKILL. May raise TimeoutExpired."""
        if self.returncode is None:
            poll = select.poll()  # select.select() fails on descriptors above 1023
            poll.register(self._report, select.POLLIN)
            if not poll.poll(None if timeout is None else timeout * 1000):
                raise subprocess.TimeoutExpired([*self.arguments], timeout or 0)
            with self._report:
                self.returncode = int(self._report.readline())
        return self.returncode

    def poll(self) -> int | None:
        """Return the exit status, or None while it runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def send_signal(self, number: int) -> None:
        """Send a signal unless the program has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def end(self) -> None:
        """Kill it, if it lives, and close the pipes."""
        self.kill()
        self.wait()
        self.stdin.close()
        self.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def run(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    cwd: str | Path = "/",
    timeout: float = 60,
) -> subprocess.CompletedProcess[str]:
    """Run a program without input, until its output ends; kill it after `timeout` seconds."""
    with (
        TemporaryFile("w+") as errors,
        Program(arguments, environment, cwd=cwd, stderr=errors) as program,
    ):
        program.stdin.close()
        limit = threading.Timer(timeout, program.kill)
        limit.start()
        output = program.stdout.read()
        limit.cancel()
        status = program.wait(timeout)
        errors.seek(0)
        return subprocess.CompletedProcess([*arguments], status, output, errors.read())


def _server_for(environment: Mapping[str, str], is_ready: bool) -> socket.socket:
    """Return the way to a server whose Python has the settings of this environment."""
    names = sorted(n for n in environment if n.startswith("PYTHON") and n != "PYTHONPATH")
    return _server(tuple((name, environment[name]) for name in names), is_ready)


@cache
def _server(settings: tuple[tuple[str, str], ...], is_ready: bool) -> socket.socket:
    """Start a server at the first program of its kind. It ends with the tests."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    arguments = [str(theirs.fileno()), *(["ready"] if is_ready else [])]
    with theirs:
        server = subprocess.Popen(
            [sys.executable, "-P", str(SERVER), *arguments],
            env={"PATH": os.environ["PATH"], **dict(settings)},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
    owner = os.getpid()

    def stop() -> None:
        if os.getpid() == owner:
            ours.close()
            server.wait()

    atexit.register(stop)
    return ours
