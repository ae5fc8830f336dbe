"""What a pool must be able to do with a raw connection, for any DB-API driver."""

from __future__ import annotations

import ctypes
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

from ..pooling import NoReset
from ..routing import Position
from ..routing.repeat import Fault


@dataclass(frozen=True, slots=True)
class Limit:
    """A number of connections that a server allows."""

    name: str
    """What sets it, in the server's words."""
    connections: int
    shared_by: Literal["server", "account", "database"] = "server"
    """Whose connections count together."""


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a server says of itself; None where it does not say."""

    version: str
    identity: str | None = None
    """The same for two aliases if, and only if, they are on one server."""
    read_only: bool | None = None
    """Whether it refuses writes, as a replica should."""
    replicates: bool | None = None
    """Whether it follows another server."""
    position: int | None = None
    """Bytes of the replication log written (primary) or replayed (replica)."""
    lag_s: float | None = None
    """Seconds since the last replayed transaction, or behind the primary if it knows."""
    idle_limit_s: float | None = None
    """It closes connections that rest so long; None for never."""
    limits: tuple[Limit, ...] = ()

    @property
    def role(self) -> str | None:
        """What it is: "primary" or "replica"."""
        is_replica = self.read_only if self.replicates is None else self.replicates
        return None if is_replica is None else ("replica" if is_replica else "primary")


@dataclass(frozen=True, slots=True)
class ServerSession:
    """What a server says of one session, now."""

    state: str
    """"active", "idle", "idle in transaction", or another word of the server's."""
    state_age_s: float | None = None
    transaction_age_s: float | None = None
    """None outside a transaction, and where the server does not say."""
    waits_for: str | None = None
    query: str | None = None
    """The running statement, or the last one; None if this account may not see it."""


class Driver:
    """The verbs of a pool on raw connections; vendors override what they can do better.

    A driver has no state: any thread may use it.
    """

    has_server = True
    """Whether there is a server to look after, which may fail and come back."""
    tells_positions = False
    """Whether ``written`` and ``replayed`` can tell anything."""

    def fileno(self, connection: Any) -> int | None:
        """Return the socket's descriptor, or None if there is none to be had."""
        return None

    def backend_id(self, connection: Any) -> int:
        """Return the server's number for the session, or 0."""
        return 0

    def adopt(self, connection: Any) -> None:
        """Prepare a connection that was just opened, before anybody uses it."""

    def ping(self, connection: Any, timeout: float) -> bool:
        """Tell whether the server answers within ``timeout`` seconds, if that can be bounded."""
        try:
            cursor = connection.cursor()
            cursor.execute("SELECT 1")
            cursor.fetchall()
            cursor.close()
            # Drivers out of autocommit have begun a transaction with that.
            connection.rollback()
        except Exception:
            return False
        return True

    @contextmanager
    def time_limit(self, connection: Any, timeout: float) -> Iterator[None]:
        """Run a block that asks the server; when the time is up it fails, as if cut off.

        For questions that the driver waits for without a limit of its own.  Without a socket
        there is no limit.

        Raises:
            TimeoutError: no answer within ``timeout`` seconds; the connection is closed.

        """
        descriptor = self.fileno(connection)
        if descriptor is None:
            yield
            return
        cutter = Cutter(descriptor, timeout)
        try:
            yield
        except Exception as error:
            if cutter.stop():
                raise TimeoutError(f"no answer within {timeout:g} s") from error
            raise
        finally:
            if cutter.stop():
                with suppress(Exception):
                    self.close(connection)

    def inspect(self, connection: Any) -> ServerFacts:
        """Ask the server who it is; raises what the driver raises."""
        return ServerFacts(version="")

    @staticmethod
    def refused_write(error: BaseException) -> bool:
        """Tell whether an error says that the server or the session takes no writes."""
        return False

    def sessions(self, connection: Any) -> dict[int, ServerSession] | None:
        """Ask the server what its sessions do, by ``backend_id``; raises what the driver raises.

        None where there is no server, or none that tells.
        """
        return None

    # -- replication ----------------------------------------------------------------------

    def written(self, connection: Any, timeout: float) -> Position | None:
        """Return where the server's own log ends; None if it cannot tell.

        What was committed before the question, by whatever session, lies before it.

        Raises:
            Exception: no answer within ``timeout`` seconds; the connection is of no more use.

        """
        if not self.ping(connection, timeout):
            raise TimeoutError(f"no answer within {timeout:g} s")
        return None

    def replayed(self, connection: Any, timeout: float) -> Position | None:
        """Return up to where the server shows what its primary wrote; see ``written``."""
        return self.written(connection, timeout)

    def diagnose(self, error: BaseException, connection: Any) -> Fault | None:
        """Return what a failed statement says of the server; None if it says nothing.

        Args:
            error: what the driver raised.
            connection: the one that the statement ran on.

        Returns:
            "lost" if the connection is gone, "conflict" if replication cancelled the statement.

        """
        return None

    # -- ends -----------------------------------------------------------------------------

    def rollback(self, connection: Any) -> None:
        """End any transaction without a trace; raises if that cannot be done."""
        connection.rollback()

    def reset_session(self, connection: Any, parameters: Callable[[], dict[str, Any]]) -> None:
        """Clear all session state but Django's.

        Args:
            connection: out of any transaction.
            parameters: returns those that a new connection would be opened with, the
                password included.

        Raises:
            NoReset: only a new connection does that.

        """
        raise NoReset("this driver cannot clear a session")

    def forbid_writes(self, connection: Any) -> None:
        """Have the server refuse writes of this session; nothing where it cannot."""

    def close_cursor(self, cursor: Any) -> None:
        """Close a cursor whose lease ends; if that raises the connection is closed."""
        cursor.close()

    def close(self, connection: Any) -> None:
        """Close the connection."""
        connection.close()

    def abandon(self, connection: Any) -> None:
        """In a forked child: make the parent's connection harmless, sending nothing on it.

        Both drivers and their finalizers say good-bye to the server on the shared socket,
        which ends the parent's session.  With the descriptor pointed at the null device
        they talk to nobody.  And the object is kept for ever: closing a copied SQLite
        handle may roll back what the parent is writing, and psycopg warns of connections
        that are dropped while open.
        """
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
        try:
            descriptor = self.fileno(connection)
        except Exception:  # closed already
            return
        if descriptor is None:
            return
        null = os.open(os.devnull, os.O_RDWR)
        try:
            os.dup2(null, descriptor, inheritable=False)
        finally:
            os.close(null)


class Deadline:
    """Waits on a socket, with one time limit over several waits."""

    def __init__(self, descriptor: int, timeout: float) -> None:
        """Start the time limit of ``timeout`` seconds."""
        self._descriptor = descriptor
        self._timeout = timeout
        self._end = time.monotonic() + timeout

    def wait(self, *, write: bool = False) -> bool:
        """Wait until the socket can be read (or written); False when the time is up."""
        left = max(0.0, self._end - time.monotonic())
        # Not select.select(): it fails on descriptors above 1023.
        if hasattr(select, "poll"):
            poll = select.poll()
            poll.register(self._descriptor, select.POLLOUT if write else select.POLLIN)
            return bool(poll.poll(left * 1000))
        one = [self._descriptor]
        return any(select.select([] if write else one, one if write else [], [], left))

    def require(self, *, write: bool = False) -> None:
        """As ``wait``, but raise TimeoutError when the time is up."""
        if not self.wait(write=write):
            raise TimeoutError(f"no answer within {self._timeout:g} s")


class Cutter:
    """Shuts a socket down when the time is up, which ends any wait for it in the driver."""

    def __init__(self, descriptor: int, timeout: float) -> None:
        """Start the time limit of ``timeout`` seconds."""
        # Of our own: a driver that gives up closes its own, and the number is soon another's.
        self._copy = socket.dup(descriptor)
        self._has_cut = False
        self._timer = threading.Timer(timeout, self._cut)
        self._timer.daemon = True
        self._timer.start()

    def stop(self) -> bool:
        """End the time limit; tell whether it had passed."""
        self._timer.cancel()
        self._timer.join()
        if self._copy >= 0:
            socket.close(self._copy)
            self._copy = -1
        return self._has_cut

    def _cut(self) -> None:
        self._has_cut = True
        # Not before: a socket object may make the descriptor, which is the driver's too,
        # non-blocking.
        with socket.socket(fileno=self._copy) as copy, suppress(OSError):
            self._copy = -1
            copy.shutdown(socket.SHUT_RDWR)
