"""Disposes of every pool when the process ends."""

from __future__ import annotations

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

# Seconds that a signal handler waits until the connections are closed.
PATIENCE = 5.0


class Disposable(Protocol):
    """An object that can be registered."""

    def dispose(self) -> None:
        """Close what is open."""


class PoolManager:
    """Disposes of all registered pools at the interpreter's exit, or on request.

    The pools register themselves.
    """

    _pools: ClassVar[WeakSet[Any]] = WeakSet()

    @classmethod
    def register(cls, pool: Disposable) -> None:
        """Add a pool to those that are disposed of at exit."""
        cls._pools.add(pool)

    @classmethod
    def forget(cls, pool: Disposable) -> None:
        """Unregister a pool; a forked child does so with its parent's pools."""
        cls._pools.discard(pool)

    @classmethod
    def cleanup_all(cls) -> None:
        """Dispose of all pools; leased connections are closed at checkin."""
        for pool in list(cls._pools):
            try:
                pool.dispose()
            except Exception:
                logger.exception("disposing of %r failed", pool)

    @classmethod
    def setup_signal_handlers(
        cls, signals: tuple[signal.Signals, ...] = (signal.SIGTERM, signal.SIGINT)
    ) -> None:
        """Dispose of all pools on these signals too, in processes that no server manages.

        Afterwards the previous handler runs.  If there was none, the signal ends the process
        as usual.  Ignored signals stay ignored.

        Raises:
            ValueError: called from a thread other than the main thread.

        """
        for number in signals:
            previous = signal.getsignal(number)
            if previous is signal.SIG_IGN or getattr(previous, "__self__", None) is cls:
                continue
            signal.signal(number, _Handler(cls, previous))


class _Handler:
    """Disposes of all pools, then does what the signal did before."""

    def __init__(
        self, manager: type[PoolManager], previous: Callable[..., Any] | int | None
    ) -> None:
        self.__self__ = manager
        self._previous = previous

    def __call__(self, number: int, frame: FrameType | None) -> None:
        # In a separate thread: the code that the signal interrupted may hold a lock that the
        # cleanup needs, and cannot release it before the handler returns.
        worker = threading.Thread(target=self.__self__.cleanup_all, daemon=True)
        try:
            worker.start()
            worker.join(PATIENCE)
        except Exception:
            # When all greenlets wait, gevent runs handlers in its event loop, where nothing may
            # wait.  No greenlet holds a lock then.
            self.__self__.cleanup_all()
        if callable(self._previous):
            self._previous(number, frame)
            return
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def close_all() -> None:
    """Give back this thread's connections, then dispose of all pools."""
    if PoolManager._pools:
        connections.close_all()
        PoolManager.cleanup_all()
