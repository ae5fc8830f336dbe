"""The errors that users catch; each is also Django's OperationalError."""

from __future__ import annotations

from asyncio import _get_running_loop

from django.db.utils import OperationalError
from django.utils.asyncio import async_unsafe

from . import pooling


class PoolError(pooling.PoolError, OperationalError):
    """The base of these errors."""


class PoolTimeout(PoolError, pooling.PoolTimeout):
    """No connection was available in time; the cause is the last failed connect, if any."""


class PoolClosed(PoolError, pooling.PoolClosed):
    """The pool was closed before a connection could be lent."""


class PoolExhausted(PoolError, pooling.PoolExhausted):
    """A caller was refused at once because ``max_waiting`` callers already wait."""


class ReplicaUnavailable(PoolError):
    """No replica may serve this read, or the replica that it names is out of service."""


def in_one_line(error: BaseException) -> str:
    """Return an error's message on one line, or the name of its type if it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def public(error: pooling.PoolError) -> PoolError:
    """Return the public error with the same message.

    To keep the cause too, use it as ``raise public(error) from error.__cause__``.
    """
    if isinstance(error, PoolError):
        return error
    for kind in (PoolTimeout, PoolExhausted, PoolClosed):
        if isinstance(error, kind.__bases__[1]):
            return kind(str(error))
    return PoolError(str(error))


def refuse_coroutines() -> None:
    """Raise in a coroutine, as Django's ``ensure_connection()`` does.

    For what uses no connection of Django's, or none yet: a block that let a coroutine in would
    not contain the statements that it awaits, which run on another thread.

    Raises:
        SynchronousOnlyOperation: an event loop runs in this thread.

    """
    # The public function raises where no loop runs, and costs ten times as much there.
    if _get_running_loop() is not None:
        _refuse_unless_allowed()


@async_unsafe
def _refuse_unless_allowed() -> None:
    """Raise Django's error, unless DJANGO_ALLOW_ASYNC_UNSAFE is set."""
