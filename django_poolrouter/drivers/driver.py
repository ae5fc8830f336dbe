"""What a pool must be able to do with a raw connection, for any DB-API driver."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from ..pooling import NoReset
from ..routing import Position
from ..routing.repeat import Fault
from .deadlines import Cutter
from .facts import ServerFacts, ServerSession


class Driver:
    """The verbs of a pool on raw connections; vendors override what they can do better.

    A driver has no state: any thread may use it.
    """

    has_server = True
    """Whether there is a server to look after, which may fail and come back."""
    facts: tuple[str, ...] = ()
    """Attributes that Django's backend for this driver sets on a wrapper when it connects, the same
    for all connections of a pool."""
    parameters: Mapping[str, Any] = {}
    """Parameters for new connections.  The settings override them."""
    connect_timeout_option = ""
    """The parameter that limits how long a connect may take, in whole seconds."""
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
