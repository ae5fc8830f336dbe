"""What every kind of cluster shares: folder, ports, processes, and a sure end."""

import abc
import atexit
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar, Self

from tests.servers.accounts import Account
from tests.servers.reaper import Reaper

PRIMARY = "primary"


class ServersMissing(RuntimeError):
    """No server binaries on this machine; the message says which and what to install."""


class Cluster(abc.ABC):
    """A primary and its replicas on free loopback ports, in a temporary folder.

    Nodes are named `primary`, `replica1`, `replica2` and so on. Everything is stopped and
    removed by `stop()`, at the latest when this process ends, however it ends. A test that
    kills or promotes nodes had better start a cluster of its own: it takes 1 to 2 seconds.

    With `tls` the application's role must connect over TLS, to a certificate that signs itself.
    """

    #: How a distribution's package names the servers' account.
    ACCOUNT: ClassVar[str]
    #: Ends a server at once, without a farewell to its clients.
    STOP_SIGNAL: ClassVar[signal.Signals]
    #: The application's role: it needs its password, and cannot write to a replica.
    USER = "shop"
    PASSWORD = "open-sesame"

    def __init__(self, replicas: int, *, tls: bool = False) -> None:
        self.tls = tls
        self.replicas = tuple(f"replica{number}" for number in range(1, replicas + 1))
        self.nodes = (PRIMARY, *self.replicas)
        self.ports: dict[str, int] = {}
        self.account = Account.for_server(self.ACCOUNT)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    # -- life ----------------------------------------------------------------

    def start(self) -> Self:
        """Start all nodes; they replicate when this returns. ServersMissing without binaries."""
        self._find_binaries()
        if self.tls and not shutil.which("openssl"):
            raise ServersMissing("TLS (openssl not found; install openssl)")
        self.folder = self.account.make_folder(f"{self.ACCOUNT}-")
        self._reaper = Reaper(self.folder, self.STOP_SIGNAL)
        self._owner = os.getpid()
        atexit.register(self.stop)
        try:
            self.ports = dict(zip(self.nodes, _free_ports(len(self.nodes)), strict=True))
            if self.tls:
                self._make_certificate()
            self._set_up()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop all nodes and remove their folder; again is harmless, and so in a forked child."""
        if os.getpid() != self._owner:
            return
        atexit.unregister(self.stop)
        for node in self._processes:
            self._ask_to_stop(node)
        for node in self._processes:
            self._wait_for_stop(node)
        shutil.rmtree(self.folder, ignore_errors=True)
        self._reaper.dismiss()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- for applications ----------------------------------------------------

    def settings(self, node: str, name: str) -> dict[str, str]:
        """Return the connection's part of a Django DATABASES entry for database `name`."""
        return {
            "HOST": "127.0.0.1",
            "PORT": str(self.ports[node]),
            "USER": self.USER,
            "PASSWORD": self.PASSWORD,
            "NAME": name,
        }

    @abc.abstractmethod
    def create_database(self, name: str) -> None:
        """Create a database that belongs to USER; every replica has it when this returns."""

    @abc.abstractmethod
    def wait_for_replicas(self, timeout: float = 10) -> None:
        """Return when every replica shows all that was committed on the primary before."""

    # -- acts on one node ----------------------------------------------------

    @abc.abstractmethod
    def sql(self, node: str, *statements: str) -> str:
        """Run statements as the server's superuser; return the rows, one a line."""

    @abc.abstractmethod
    def promote(self, node: str) -> None:
        """Make a replica a primary: it takes writes when this returns."""

    @abc.abstractmethod
    def follow(self, node: str, primary: str) -> None:
        """Let a replica follow another primary, after that was promoted."""

    def signal(self, node: str, signum: signal.Signals) -> None:
        """Signal a server and its children, so that SIGSTOP really freezes it."""
        process = self._processes[node]
        if process.poll() is None:
            for pid in (process.pid, *_children(process.pid)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signum)
        if signum is signal.SIGKILL:
            process.wait()

    def halt(self, node: str) -> None:
        """Stop a server at once, whatever state it is in."""
        self._ask_to_stop(node)
        self._wait_for_stop(node)

    def _ask_to_stop(self, node: str) -> None:
        self.signal(node, signal.SIGCONT)
        self._processes[node].send_signal(self.STOP_SIGNAL)

    def _wait_for_stop(self, node: str) -> None:
        try:
            self._processes[node].wait(10)
        except subprocess.TimeoutExpired:
            self.signal(node, signal.SIGKILL)

    def restart(self, node: str) -> None:
        """Start a node again on its old port, whether it ran, froze, was halted or killed."""
        self.halt(node)
        self._launch(node)

    # -- for subclasses ------------------------------------------------------

    @property
    def certificate(self) -> Path:
        """The certificate of all nodes, and of its own authority."""
        return self.folder / "certificate.pem"

    @property
    def certificate_key(self) -> Path:
        """The private key of that."""
        return self.folder / "key.pem"

    @abc.abstractmethod
    def _find_binaries(self) -> None:
        """Raise ServersMissing unless all programs are there."""

    @abc.abstractmethod
    def _set_up(self) -> None:
        """Make the nodes' data and start them; folder and ports are there."""

    @abc.abstractmethod
    def _command(self, node: str) -> list[str]:
        """Return the command line of a server that stays in the foreground."""

    @abc.abstractmethod
    def _remove_locks(self, node: str) -> None:
        """Remove what a killed server left behind that would hinder the next."""

    @abc.abstractmethod
    def _is_ready(self, node: str) -> bool:
        """Whether a starting node answers queries by now."""

    def _make_certificate(self) -> None:
        self.account.run(
            *("openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-keyout", self.certificate_key, "-out", self.certificate),
        )

    def _launch(self, node: str) -> None:
        """Start one server and wait until it answers.

        In a session of its own: a Ctrl-C at the terminal is for us, and we stop it in order.
        """
        self._remove_locks(node)
        with self._log(node).open("ab") as log:
            process = subprocess.Popen(
                self._command(node),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self.account.popen_options,
            )
        self._processes[node] = process
        self._reaper.watch(node, process.pid)
        self._wait_until(lambda: process.poll() is not None or self._is_ready(node), 30, node)
        if process.poll() is not None:
            raise RuntimeError(f"{node} did not start\n{self._log_tail(node)}")

    def _wait_until(self, condition: Callable[[], bool], timeout: float, node: str) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{node}: not within {timeout} s\n{self._log_tail(node)}")
            time.sleep(0.01)

    def _log(self, node: str) -> Path:
        return self.folder / f"{node}.log"

    def _log_tail(self, node: str) -> str:
        return "\n".join(self._log(node).read_text(errors="replace").splitlines()[-20:])


def _free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all held at once so that they differ."""
    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [listener.getsockname()[1] for listener in sockets]


def _children(parent: int) -> Iterator[int]:
    """Read from /proc, as `ps` need not be installed."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            _state, ppid = stat.read_text().rpartition(")")[2].split()[:2]
            if int(ppid) == parent:
                yield int(stat.parent.name)
