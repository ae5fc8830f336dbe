"""The queue of callers that wait for a connection."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from .entry import Entry
from .errors import PoolError


class Permit:
    """The right to open a connection, which a waiter may be granted instead of an entry."""


PERMIT: Final = Permit()
Grant = Entry | Permit | PoolError


class Waiter:
    """One waiting caller; ``grant`` is set once, under the pool's lock."""

    __slots__ = ("_event", "grant", "since")

    def __init__(self, now: int) -> None:
        """Start to wait at the monotonic time ``now`` (ns)."""
        # A raw lock as a one-shot event costs a fifth of an Event.  It is looked up on
        # threading at run time because gevent replaces it there.
        self._event = threading.Lock()
        self._event.acquire()
        self.grant: Grant | None = None
        self.since = now

    def give(self, grant: Grant) -> None:
        """Set the grant and wake the waiter; the caller holds the pool's lock."""
        self.grant = grant
        self._event.release()

    def wait(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds and tell whether the grant came."""
        return self._event.acquire(timeout=timeout)


class WaitQueue(OrderedDict[Waiter, None]):
    """Waiters in order of arrival; leaving from the middle is cheap. The pool's lock guards it.

    It is a dict and does not wrap one, so that the frequent test whether it is empty is cheap.
    """

    __slots__ = ()

    def join(self, waiter: Waiter, *, first: bool = False) -> None:
        """Add a waiter at the end of the queue, or in front."""
        self[waiter] = None
        if first:
            self.move_to_end(waiter, last=False)

    def leave(self, waiter: Waiter) -> None:
        """Remove a waiter from any place in the queue; do nothing if it is not there."""
        self.pop(waiter, None)

    def next(self) -> Waiter:
        """Remove and return the first waiter."""
        return self.popitem(last=False)[0]
