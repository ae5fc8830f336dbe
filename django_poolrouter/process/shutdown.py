"""The end of a process: every pool is disposed of."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, ClassVar, Protocol
from weakref import WeakSet

from django.db import connections

logger = logging.getLogger("django_poolrouter")

# How long a signal handler waits for the connections to be closed.
PATIENCE = 5.0


class Disposable(Protocol):
    """What can be registered."""

    def dispose(self) -> None:
        """Close what is open."""


class PoolManager:
    """Disposes of all registered pools at the interpreter's exit, or when told to.

    The pools register themselves.
    """

    _pools: ClassVar[WeakSet[Any]] = WeakSet()

    @classmethod
    def register(cls, pool: Disposable) -> None:
        """Add a pool to those that are disposed of at exit."""
        cls._pools.add(pool)

    @classmethod
    def forget(cls, pool: Disposable) -> None:
        """Leave out a pool, as forked children do with their parents'."""
        cls._pools.discard(pool)

    @classmethod
    def cleanup_all(cls) -> None:
        """Dispose of all pools; leased connections close when they come back."""
        for pool in list(cls._pools):
            try:
                pool.dispose()
            except Exception:
                logger.exception("disposing of %r failed", pool)

    @classmethod
    def setup_signal_handlers(
        cls, signals: tuple[signal.Signals, ...] = (signal.SIGTERM, signal.SIGINT)
    ) -> None:
        """Dispose of all pools on these signals too; for processes that no server manages.

        Afterwards the handler that was installed before runs, or the process dies of the
        signal as it would without us.  Ignored signals stay ignored.

        Raises:
            ValueError: called from another thread than the main one.

        """
        for number in signals:
            previous = signal.getsignal(number)
            if previous is signal.SIG_IGN or getattr(previous, "__self__", None) is cls:
                continue
            signal.signal(number, _Handler(cls, previous))


class _Handler:
    """Cleans up, then does what was done before."""

    def __init__(
        self, manager: type[PoolManager], previous: Callable[..., Any] | int | None
    ) -> None:
        self.__self__ = manager
        self._previous = previous

    def __call__(self, number: int, frame: FrameType | None) -> None:
        # In a thread of its own: the code that the signal interrupted may hold a lock
        # that the clean-up needs.
        worker = threading.Thread(target=self.__self__.cleanup_all, daemon=True)
        try:
            worker.start()
            worker.join(PATIENCE)
        except Exception:
            # gevent runs handlers within its event loop when all greenlets wait, and there
            # nothing may wait.  Then none of them holds a lock.
            self.__self__.cleanup_all()
        if callable(self._previous):
            self._previous(number, frame)
            return
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


@atexit.register
def _at_exit() -> None:
    """Give back what this thread holds, then close all."""
    if PoolManager._pools:
        connections.close_all()
        PoolManager.cleanup_all()
