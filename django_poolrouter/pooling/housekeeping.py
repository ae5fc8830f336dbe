"""One thread for the upkeep of all pools of a process; no pool needs it to be correct."""

from __future__ import annotations

import logging
import threading
from typing import Protocol
from weakref import WeakSet

logger = logging.getLogger("django_poolrouter.pool")


class Maintained(Protocol):
    """What wants upkeep: a pool, or what somebody above looks after."""

    @property
    def upkeep_interval(self) -> float | None:
        """How often ``upkeep`` is wanted, in seconds; None while there is nothing to keep up."""

    @property
    def asks_for_thread(self) -> bool:
        """Whether somebody asked for what only upkeep does, so that it goes on after a fork."""

    def upkeep(self) -> None:
        """Do what is to be done now and then."""


class Housekeeper:
    """Calls ``upkeep`` of the pools it watches, from a daemon thread.

    The thread starts when a pool has something to keep up and ends when none has.
    """

    def __init__(self) -> None:
        # The lock guards the fields below, for a few instructions at a time.
        self._lock = threading.Lock()
        self._pools: WeakSet[Maintained] = WeakSet()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def watch(self, pool: Maintained) -> None:
        """Look after a pool from now on; call it again when a connection was opened."""
        with self._lock:
            self._pools.add(pool)
            if pool.upkeep_interval is not None:
                self._start()

    def resume(self) -> None:
        """Go on after ``stop`` if one that was watched asks for it."""
        with self._lock:
            if any(pool.asks_for_thread and pool.upkeep_interval for pool in self._pools):
                self._start()

    def _start(self) -> None:
        if self._thread is not None:
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
        except RuntimeError as error:  # no more threads, or the interpreter ends
            logger.debug("no upkeep of the pools: %s", error)
            self._thread = None

    def stop(self, patience: float = 0.5) -> None:
        """End the thread, waiting up to ``patience`` seconds for a connect under way.

        The next ``watch`` starts another.
        """
        with self._lock:
            thread, self._thread = self._thread, None
            self._stop.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(patience)

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
        """Return the seconds until the next round; ends the thread when there is none."""
        with self._lock:
            wanted = [pool.upkeep_interval for pool in self._pools]
            intervals = [seconds for seconds in wanted if seconds is not None]
            if intervals:
                return min(intervals)
            if self._stop is stop:
                self._thread = None
            stop.set()
            return 0
