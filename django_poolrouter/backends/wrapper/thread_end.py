"""Notices the end of threads that did not close their connections."""

from __future__ import annotations

import os
import sys
import threading
from typing import Protocol
from weakref import WeakSet

_local = threading.local()


class _Leasing(Protocol):
    """A wrapper that may hold a lease of its thread."""

    def give_back_at_thread_end(self) -> None:
        """Check in the lease, if there is one."""


class _ThreadEnd:
    """Lives in a thread's local storage, so the interpreter drops it when the thread ends.

    A finalizer on the wrapper would come too late: wrappers are parts of reference cycles,
    and stay until the garbage collector runs, if it does.
    """

    def __init__(self) -> None:
        self.wrappers: WeakSet[_Leasing] = WeakSet()
        self._pid = os.getpid()

    def __del__(self) -> None:
        # In a forked child the other threads' storage is dropped before any hook runs, while
        # those threads live on in the parent, and their connections with them.
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
