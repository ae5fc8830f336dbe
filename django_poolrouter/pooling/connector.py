"""The only interface between a pool and the driver."""

from __future__ import annotations

from typing import Any, Protocol


class Connector(Protocol):
    """Opens, tests, resets and closes connections; knows nothing about pools.

    Several threads may call a method at the same time.  The pool never holds its lock
    during a call.
    """

    def open(self) -> Any:
        """Return a new connection, set up and in autocommit; the driver's errors pass through."""

    def close(self, connection: Any) -> None:
        """Close the connection; the pool logs an error and goes on."""

    def ping(self, connection: Any, timeout: float) -> bool:
        """Tell whether the server answers within ``timeout`` seconds; never raises."""

    def reset(self, connection: Any) -> str | None:
        """Make the connection neutral; if this raises, the pool closes the connection.

        Return None if that did not take clearing the session.  Else return what its user had left
        in it, one of ``sql.marks.MARKS``, or an empty string.

        Raises:
            NoReset: this connection cannot be made neutral, although it is not broken.

        """

    def renew(self, connection: Any) -> object:
        """Clear the session of a connection in use, which has no open transaction.

        Raises:
            NoReset: only a new connection is neutral.

        """

    def fileno(self, connection: Any) -> int | None:
        """Return the descriptor of the connection's socket, or None if it has none."""

    def backend_id(self, connection: Any) -> int:
        """Return the server's number for this session, or 0."""

    def abandon(self, connection: Any) -> None:
        """Make the parent's connection harmless in a forked child; send nothing on it."""
