"""A driver that does and counts what the test wants."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

from tests.support.waiting import LIMIT


class ConnectFailed(Exception):
    """What the fake driver raises when the fake server is down."""


class Killed(BaseException):
    """As KeyboardInterrupt, gevent.Timeout and GreenletExit: no Exception."""


class Gate:
    """Holds whoever comes, until it is opened; counts arrivals."""

    def __init__(self) -> None:
        self._arrived = threading.Semaphore(0)
        self._opened = threading.Event()

    def __call__(self, *_: Any) -> None:
        """Arrive, and wait until the gate is open."""
        self._arrived.release()
        assert self._opened.wait(LIMIT), "nobody opened the gate"

    def wait_for(self, arrivals: int = 1) -> None:
        """Return when so many more have arrived."""
        for _ in range(arrivals):
            assert self._arrived.acquire(timeout=LIMIT), "nobody arrived at the gate"

    def open(self) -> None:
        """Let everybody through from now on."""
        self._opened.set()


class FakeConnection:
    """A connection that notes who uses it, with a real socket where the test asks for one."""

    def __init__(self, number: int, *, with_socket: bool) -> None:
        self.number = number
        self.alive = True
        self.closed = False
        self._sockets = socket.socketpair() if with_socket else None
        self._owner = threading.Lock()

    def __repr__(self) -> str:
        return f"<FakeConnection {self.number}>"

    def use(self) -> None:
        """Begin to use it; fails if somebody else does."""
        assert self._owner.acquire(blocking=False), f"{self} has two owners"
        assert not self.closed, f"{self} is used after it was closed"

    def leave(self) -> None:
        """Stop using it."""
        self._owner.release()

    def fileno(self) -> int | None:
        return self._sockets[0].fileno() if self._sockets else None

    def speak(self) -> None:
        """Let the server say something without being asked, as NOTIFY does."""
        assert self._sockets
        self._sockets[1].send(b"!")

    def hang_up(self) -> None:
        """Let the server end the session."""
        self.alive = False
        if self._sockets:
            self._sockets[1].close()

    def close(self) -> None:
        assert not self.closed, f"{self} was closed twice"
        self.closed = True
        for end in self._sockets or ():
            end.close()


def nothing(*_: Any) -> None:
    """Do nothing."""


class FakeConnector:
    """A ``Connector`` on a server that takes orders from the test.

    ``on_open``, ``on_close``, ``on_ping`` and ``on_reset`` run first in the method of that
    name: they may raise, or wait at a ``Gate``.  All counts are right at any moment.
    """

    def __init__(self, *, with_sockets: bool = False) -> None:
        self.on_open: Callable[[], object] = nothing
        self.on_close: Callable[[FakeConnection], object] = nothing
        self.on_ping: Callable[[FakeConnection], object] = nothing
        self.on_reset: Callable[[FakeConnection], object] = nothing
        self.on_fileno: Callable[[FakeConnection], object] = nothing
        self.opened: list[FakeConnection] = []
        self.pinged: list[FakeConnection] = []
        self.ping_timeouts: list[float] = []
        self.was_reset: list[FakeConnection] = []
        self.abandoned: list[FakeConnection] = []
        self.refused = 0
        self.opening = 0
        self.most_opening = 0
        self.most_live = 0
        """Most connections open or being opened at once, as the server would count them."""
        self.mistakes: list[str] = []
        self._live: set[FakeConnection] = set()
        self._failures: list[BaseException] = []
        self._with_sockets = with_sockets
        self._lock = threading.Lock()

    @property
    def live(self) -> list[FakeConnection]:
        """The open connections, oldest first."""
        with self._lock:
            return sorted(self._live, key=lambda connection: connection.number)

    def fail_next(self, count: int = 1, error: BaseException | None = None) -> None:
        """Let the next so many opens fail."""
        self._failures += [error or ConnectFailed("the fake server is down")] * count

    # -- the protocol ----------------------------------------------------------------

    def open(self) -> FakeConnection:
        with self._lock:
            self.opening += 1
            self.most_opening = max(self.most_opening, self.opening)
            self.most_live = max(self.most_live, self.opening + len(self._live))
        try:
            self.on_open()
        except BaseException:
            with self._lock:
                self.opening -= 1
            raise
        return self._connect()

    def close(self, connection: FakeConnection) -> None:
        try:
            self.on_close(connection)
        finally:
            with self._lock:
                self._live.discard(connection)
                connection.close()

    def ping(self, connection: FakeConnection, timeout: float) -> bool:
        self._check_open(connection, "pinged")
        self.pinged.append(connection)
        self.ping_timeouts.append(timeout)
        self.on_ping(connection)
        return connection.alive

    def reset(self, connection: FakeConnection) -> None:
        self._check_open(connection, "reset")
        self.was_reset.append(connection)
        self.on_reset(connection)
        if not connection.alive:
            raise ConnectFailed("the server hung up")

    def fileno(self, connection: FakeConnection) -> int | None:
        self.on_fileno(connection)
        return connection.fileno()

    def backend_id(self, connection: FakeConnection) -> int:
        return connection.number

    def abandon(self, connection: FakeConnection) -> None:
        self.abandoned.append(connection)

    def _connect(self) -> FakeConnection:
        with self._lock:
            self.opening -= 1
            if self._failures:
                self.refused += 1
                raise self._failures.pop(0)
            connection = FakeConnection(len(self.opened), with_socket=self._with_sockets)
            self.opened.append(connection)
            self._live.add(connection)
        return connection

    def _check_open(self, connection: FakeConnection, verb: str) -> None:
        if connection.closed:
            self.mistakes.append(f"{connection} was {verb} after it was closed")
