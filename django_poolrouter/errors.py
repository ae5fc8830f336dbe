"""The errors that users catch: those of the pool, each also an OperationalError of Django."""

from __future__ import annotations

from django.db.utils import OperationalError

from . import pooling


class PoolError(pooling.PoolError, OperationalError):
    """A pool could not do what it was asked to do."""


class PoolTimeout(PoolError, pooling.PoolTimeout):
    """No connection came free within the timeout; the cause is the last failed connect, if any."""


class PoolClosed(PoolError, pooling.PoolClosed):
    """The pool was closed before a connection could be lent."""


class PoolExhausted(PoolError, pooling.PoolExhausted):
    """``max_waiting`` callers wait already, so this one was refused at once."""


class ReplicaUnavailable(PoolError):
    """A read was to go to a replica, and none may be read; or this one is out of service."""


def in_one_line(error: BaseException) -> str:
    """Return what an error says, on one line; the name of its type if it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def public(error: pooling.PoolError) -> PoolError:
    """Return the error as users know it, with the same words and cause.

    Use it as ``raise public(error) from error.__cause__``.
    """
    if isinstance(error, PoolError):
        return error
    for kind in (PoolTimeout, PoolExhausted, PoolClosed):
        if isinstance(error, kind.__bases__[1]):
            return kind(str(error))
    return PoolError(str(error))
