"""The housekeeper: one thread for the upkeep of all pools of a process.

Pools stay correct without it.
"""

from __future__ import annotations

import logging
import threading
from typing import Protocol
from weakref import WeakSet

logger = logging.getLogger("django_poolrouter.pool")


class Maintained(Protocol):
    """An object that needs upkeep: a pool, or an object of a higher layer."""

    @property
    def upkeep_interval(self) -> float | None:
        """Seconds between two calls of ``upkeep``; None while there is nothing to do."""

    @property
    def asks_for_thread(self) -> bool:
        """Whether the thread must start again after a fork, because the settings need upkeep."""

    def upkeep(self) -> None:
        """Do the regular work."""


class Housekeeper:
    """Calls ``upkeep`` of the pools that it watches, from a daemon thread.

    The thread starts when a pool has work for it, and ends when no pool has.
    """

    def __init__(self) -> None:
        # Guards the fields below, and is held for a few instructions at a time.
        self._lock = threading.Lock()
        self._pools: WeakSet[Maintained] = WeakSet()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._has_ended = False

    def watch(self, pool: Maintained) -> None:
        """Watch ``pool`` from now on.

        Call this again when the pool has opened a connection: the thread may have ended.
        """
        with self._lock:
            self._pools.add(pool)
            if pool.upkeep_interval is not None:
                self._start()

    def resume(self) -> None:
        """Start the thread again after ``stop`` if a watched pool asks for it."""
        with self._lock:
            if any(pool.asks_for_thread and pool.upkeep_interval for pool in self._pools):
                self._start()

    def _start(self) -> None:
        if self._thread is not None or self._has_ended:
            return
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._run,
            args=(self._stop,),
            name="poolrouter-housekeeper",
            daemon=True,
        )
        try:
            self._thread.start()
        except RuntimeError as error:  # too many threads, or the interpreter is shutting down
            logger.debug("cannot start the housekeeper thread: %s", error)
            self._thread = None

    def stop(self, patience: float = 0.5) -> None:
        """End the thread; wait up to ``patience`` seconds for a connect in progress.

        The next ``watch`` starts a new thread.
        """
        with self._lock:
            thread, self._thread = self._thread, None
            self._stop.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(patience)

    def end(self) -> None:
        """Stop for good, because the process ends."""
        self._has_ended = True
        self.stop()

    def _run(self, stop: threading.Event) -> None:
        while not stop.wait(self._interval(stop)):
            self._keep_up()

    def _keep_up(self) -> None:
        with self._lock:
            pools = list(self._pools)
        for pool in pools:
            try:
                pool.upkeep()
            except Exception:
                logger.exception("upkeep of %r failed", pool)

    def _interval(self, stop: threading.Event) -> float:
        """Return the seconds until the next round; end the thread if no pool needs one."""
        with self._lock:
            wanted = [pool.upkeep_interval for pool in self._pools]
            intervals = [seconds for seconds in wanted if seconds is not None]
            if intervals:
                return min(intervals)
            if self._stop is stop:
                self._thread = None
            stop.set()
            return 0
