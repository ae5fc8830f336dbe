"""The pool's one door to the driver."""

from __future__ import annotations

from typing import Any, Protocol


class Connector(Protocol):
    """Opens, tests, resets and closes connections; knows nothing of pools.

    Each method may be called by any thread, several at a time, and none is called with
    the pool's lock held.
    """

    def open(self) -> Any:
        """Return a new connection, set up and in autocommit; raises what the driver raises."""

    def close(self, connection: Any) -> None:
        """Close the connection; may raise, the pool does not care."""

    def ping(self, connection: Any, timeout: float) -> bool:
        """Tell whether the server answers within ``timeout`` seconds; never raises."""

    def reset(self, connection: Any) -> None:
        """Bring the connection back to neutral; raises if it cannot, and the pool closes it.

        Raises:
            NoReset: that is not a fault.

        """

    def fileno(self, connection: Any) -> int | None:
        """Return the descriptor of the connection's socket, or None if it has none."""

    def backend_id(self, connection: Any) -> int:
        """Return the server's number for this session, or 0."""

    def abandon(self, connection: Any) -> None:
        """In a forked child: make the parent's connection harmless, sending nothing on it."""
