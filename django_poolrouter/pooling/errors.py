"""What can go wrong in a pool, said without Django.

``django_poolrouter.errors`` has what users catch.
"""


class NoReset(Exception):
    """A connector's reset cannot make this connection as new; nothing is wrong with it."""


class PoolError(Exception):
    """A pool could not do what it was asked to do."""


class PoolTimeout(PoolError):
    """No connection came free within the timeout; the cause is the last failed connect, if any."""


class PoolClosed(PoolError):
    """The pool was closed before a connection could be lent."""

    def __init__(self, message: str, *, while_waiting: bool = False) -> None:
        """Say whether the caller had begun to wait, or to open a connection, by then."""
        super().__init__(message)
        self.while_waiting = while_waiting


class PoolExhausted(PoolError):
    """``max_waiting`` callers wait already, so this one was refused at once."""
