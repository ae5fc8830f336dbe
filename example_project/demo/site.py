"""The example site as processes: `manage.py` commands, and gunicorn that serves it."""

import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[1]
ROOT = EXAMPLE.parent

Address = tuple[str, int]


class Site:
    """The shop with the given settings; `folder` is for its log and is the caller's.

    Its processes have sessions of their own: a Ctrl-C at the terminal is for the demo alone,
    which then stops them in order.
    """

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self.environment = environment | {"DJANGO_SETTINGS_MODULE": "example_project.settings"}
        self.log = folder / "gunicorn.log"

    def manage(self, *command: str, **environment: str) -> str:
        """Run a `manage.py` command and return what it printed; its errors go to the terminal."""
        done = subprocess.run(
            [sys.executable, EXAMPLE / "manage.py", *command],
            env=os.environ | self.environment | environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            start_new_session=True,
        )
        return done.stdout

    def migrate_and_seed(self) -> None:
        """Make the tables on each cluster's primary, and fill them."""
        self.manage("migrate", "--verbosity=0")
        self.manage("migrate", "--verbosity=0", "--database=orders")
        self.manage("seed", "--verbosity=0")

    @contextmanager
    def served(self) -> Iterator[Address]:
        """Run gunicorn until the end of the block; yields its address once it answers."""
        # It inherits a socket that listens already: no port can be lost to somebody else, and
        # the first request waits in its queue until a worker is there.
        with socket.create_server(("127.0.0.1", 0)) as listener, self.log.open("wb") as log:
            address = listener.getsockname()
            gunicorn = subprocess.Popen(
                self._gunicorn(listener.fileno()),
                cwd=ROOT,
                env=os.environ | self.environment,
                pass_fds=[listener.fileno()],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._expect_an_answer(address)
            yield address
        finally:
            _stop(gunicorn)

    def shell_environment(self) -> str:
        """Return lines for a shell that bring it into the site's environment."""
        items = self.environment.items()
        return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in items)

    def _gunicorn(self, fileno: int) -> list[str]:
        options = ["-c", str(EXAMPLE / "gunicorn.conf.py"), "--bind", f"fd://{fileno}"]
        return [sys.executable, "-m", "gunicorn", *options, "example_project.wsgi"]

    def _expect_an_answer(self, address: Address) -> None:
        try:
            fetch(address, "/")
        except (OSError, HTTPException) as error:
            raise RuntimeError(f"gunicorn does not serve:\n{self.log.read_text()}") from error


def fetch(address: Address, path: str) -> tuple[int, str]:
    """GET a page with a connection of its own; returns status and text."""
    connection = HTTPConnection(*address, timeout=30)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask, then insist; workers are in the process group of their master."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
