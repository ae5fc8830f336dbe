"""The queue of callers that wait for a connection."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from .entry import Entry
from .errors import PoolError


class Permit:
    """What a waiter may be granted instead of an entry: the right to open one."""


PERMIT: Final = Permit()
Grant = Entry | Permit | PoolError


class Waiter:
    """One waiting caller; ``grant`` is set once, under the pool's lock."""

    __slots__ = ("_event", "grant", "since")

    def __init__(self, now: int) -> None:
        """Start to wait at the monotonic time ``now`` (ns)."""
        # A raw lock as one-shot event is a fifth of an Event's cost; looked up on
        # threading at run time because gevent replaces it there.
        self._event = threading.Lock()
        self._event.acquire()
        self.grant: Grant | None = None
        self.since = now

    def give(self, grant: Grant) -> None:
        """Grant and wake; the caller holds the pool's lock."""
        self.grant = grant
        self._event.release()

    def wait(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds and tell whether the grant came."""
        return self._event.acquire(timeout=timeout)


class WaitQueue(OrderedDict[Waiter, None]):
    """Waiters in order of arrival; leaving from the middle is cheap. The pool's lock guards it.

    A kind of dict rather than one with a dict inside: each checkin asks if it is empty.
    """

    __slots__ = ()

    def join(self, waiter: Waiter, *, first: bool = False) -> None:
        """Stand last in the queue, or first."""
        self[waiter] = None
        if first:
            self.move_to_end(waiter, last=False)

    def leave(self, waiter: Waiter) -> None:
        """Leave the queue, wherever in it; no harm if already out."""
        self.pop(waiter, None)

    def next(self) -> Waiter:
        """Take the first out of the queue."""
        return self.popitem(last=False)[0]
