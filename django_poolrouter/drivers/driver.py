"""What a pool must be able to do with a raw connection, for any DB-API driver."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from ..pooling import NoReset
from ..pooling.descriptors import Descriptor, keep_forever
from ..routing import Position
from ..routing.repeat import Fault
from ..sql.marks import Mark
from .deadlines import Cutter
from .facts import ServerFacts, ServerSession
from .session import DOUBT, Reported, Session


class Driver:
    """The operations of a pool on raw connections; vendors override what they can do better.

    A driver has no state, so any thread may use it.
    """

    has_server = True
    """Whether there is a server, which may fail and come back."""
    facts: tuple[str, ...] = ()
    """Attributes that Django's backend for this driver sets on a wrapper when it connects, the same
    for all connections of a pool."""
    parameters: Mapping[str, Any] = {}
    """Parameters for new connections.  The settings override them."""
    connect_timeout_option = ""
    """The parameter that limits how long a connect may take, in whole seconds."""
    tells_positions = False
    """Whether ``written`` and ``replayed`` can return positions."""
    tells_session = False
    """Whether connections tell what their users change in the session; see ``mark_of``."""

    def fileno(self, connection: Any) -> int | None:
        """Return the descriptor of the connection's socket, or None if there is no socket."""
        return None

    def backend_id(self, connection: Any) -> int:
        """Return the server's number for this session, or 0."""
        return 0

    def adopt(self, connection: Any, session: Session | None = None) -> None:
        """Prepare a connection that was just opened, before its first use.

        Args:
            connection: the driver's connection.
            session: is told from now on what the connection's users send.

        """

    def watch_cursor(self, cursor: Any) -> None:
        """Let a server-side cursor of Django tell the connection's session its statements."""

    def ping(self, connection: Any, timeout: float) -> bool:
        """Tell whether the server answers, within ``timeout`` seconds if the driver has a limit."""
        try:
            cursor = connection.cursor()
            cursor.execute("SELECT 1")
            cursor.fetchall()
            cursor.close()
            # Without autocommit, the query has begun a transaction.
            connection.rollback()
        except Exception:
            return False
        return True

    @contextmanager
    def time_limit(self, connection: Any, timeout: float) -> Iterator[None]:
        """Run a block that asks the server; make it fail when the time is up.

        Use it where the driver itself would wait without a limit.  A connection without a
        socket gets no limit here either.

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
        """Ask the server about itself; the driver's errors pass through."""
        return ServerFacts(version="")

    @staticmethod
    def refused_write(error: BaseException) -> bool:
        """Tell whether an error says that the server or the session refuses writes."""
        return False

    def sessions(self, connection: Any) -> dict[int, ServerSession] | None:
        """Return what the server's sessions do, by ``backend_id``; driver errors pass through.

        Return None if there is no server, or if it does not say.
        """
        return None

    # -- replication ----------------------------------------------------------------------

    def written(self, connection: Any, timeout: float) -> Position | None:
        """Return the position where the server's own log ends; None if it does not say.

        Everything that any session committed before the question lies before that position.

        Raises:
            Exception: no answer within ``timeout`` seconds; do not use the connection again.

        """
        if not self.ping(connection, timeout):
            raise TimeoutError(f"no answer within {timeout:g} s")
        return None

    def replayed(self, connection: Any, timeout: float) -> Position | None:
        """Return the position up to which a server shows its primary's writes; see ``written``."""
        return self.written(connection, timeout)

    def diagnose(self, error: BaseException, connection: Any) -> Fault | None:
        """Return what a failed statement says about the server; None if it says nothing.

        Args:
            error: the driver's error.
            connection: the connection that the statement ran on.

        Returns:
            "lost" if the connection is gone, "conflict" if replication cancelled the statement.

        """
        return None

    # -- ends -----------------------------------------------------------------------------

    def require_socket(self, connection: Any) -> None:
        """Raise an error if other code closed the connection's socket.

        Its number may lead to another file by now.  Call this before a statement of our own at
        checkin: the pool does not look at the socket then, because that would cost each checkin a
        microsecond.
        """
        descriptor = getattr(connection, "descriptor", None)
        if isinstance(descriptor, Descriptor) and not descriptor.is_intact:
            raise RuntimeError("other code closed the connection's socket")

    def rollback(self, connection: Any) -> None:
        """Roll back any open transaction; raises if that fails."""
        connection.rollback()

    def is_marked(self, connection: Any) -> bool:
        """Tell whether the user of a watched connection has changed the session; asks no server."""
        session: Session = connection.session
        return session.is_marked

    def end_lease(self, connection: Any) -> Mark | None:
        """Return what the user has left in the session, if anything; asks no server.

        A connection of an unknown class tells nothing, so it may have been changed.
        """
        session: Session | None = getattr(connection, "session", None)
        return DOUBT if session is None else session.end_lease()

    def reset_settings(self, connection: Any, names: Iterable[str]) -> None:
        """Reset single settings of the session, if a rollback would bring back their values."""

    def reported(self, connection: Any) -> Reported:
        """Return what the server last reported about the session; asks no server."""
        return ()

    def reset_session(self, connection: Any, parameters: Callable[[], dict[str, Any]]) -> None:
        """Clear all session state except Django's own.

        Args:
            connection: must have no open transaction.
            parameters: returns the parameters that a new connection would be opened with,
                including the password.

        Raises:
            NoReset: the state cannot be cleared; only a new connection is free of it.

        """
        raise NoReset("this driver cannot clear a session")

    def forbid_writes(self, connection: Any) -> None:
        """Make the server refuse writes in this session; does nothing where it cannot."""

    def close_cursor(self, cursor: Any) -> None:
        """Close a cursor whose lease ends; if this raises, the connection is closed."""
        cursor.close()

    def close(self, connection: Any) -> None:
        """Close the connection."""
        connection.close()

    def abandon(self, connection: Any) -> None:
        """Make the parent's connection harmless in a forked child; send nothing on it.

        When psycopg or mysqlclient closes or finalizes a connection, it says good-bye to the
        server on the shared socket, which ends the parent's session.  So the descriptor is
        pointed at the null device.  The object is kept forever as well: closing a copied
        SQLite handle may roll back what the parent is writing, and psycopg warns about
        connections that are dropped while open.
        """
        keep_forever(connection)
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
