"""The errors of a pool, without Django.

Users catch those in ``django_poolrouter.errors``.
"""


class NoReset(Exception):
    """A connector cannot make this connection neutral, although it is not broken."""

    mark = ""
    """What its user has left in the session, if the connector knows."""


class PoolError(Exception):
    """The base of all errors of a pool."""


class PoolTimeout(PoolError):
    """No connection was available in time; the cause is the last failed connect, if any."""


class PoolClosed(PoolError):
    """The pool was closed before a connection could be lent."""

    def __init__(self, message: str, *, while_waiting: bool = False) -> None:
        """Set ``while_waiting`` if the caller already waited or was opening a connection."""
        super().__init__(message)
        self.while_waiting = while_waiting


class PoolExhausted(PoolError):
    """A caller was refused at once because ``max_waiting`` callers already wait."""
