"""Gives back the leases of threads that end without closing their connections."""

from __future__ import annotations

import os
import sys
import threading
from typing import Protocol
from weakref import WeakSet

_local = threading.local()


class _Leasing(Protocol):
    """A wrapper that may have a lease of its thread."""

    def give_back_at_thread_end(self) -> None:
        """Check in the lease, if there is one."""


class _ThreadEnd:
    """Lives in a thread's local storage, so the interpreter drops it when the thread ends.

    A finalizer on the wrapper would come too late: wrappers are parts of reference cycles,
    and stay until the garbage collector runs, if it runs at all.
    """

    def __init__(self) -> None:
        self.wrappers: WeakSet[_Leasing] = WeakSet()
        self._pid = os.getpid()

    def __del__(self) -> None:
        # A forked child drops the storage of all other threads before any hook runs.  But these
        # threads still run in the parent, and still use their connections.
        if sys.is_finalizing() or self._pid != os.getpid():
            return
        for wrapper in list(self.wrappers):
            wrapper.give_back_at_thread_end()


def watch(wrapper: _Leasing) -> None:
    """Have a wrapper give back its lease when the current thread ends."""
    try:
        end = _local.end
    except AttributeError:
        end = _local.end = _ThreadEnd()
    end.wrappers.add(wrapper)
