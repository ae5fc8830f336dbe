"""Asks the servers of one cluster where their logs stand: for the monitor, and for reads."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from .logs import NotAsked, ServerFailed, Servers
from .positions import Position
from .replica_health import ReplicaHealth

logger = logging.getLogger("django_poolrouter.routing")

# Seconds that a read waits for a replica before it goes to the primary.
WAIT = 0.025
# Seconds between two questions to the same replica, while a read waits.
POLL = 0.004
# Behind by more seconds than that at the last look, it will not catch up while we wait.
HOPELESS = 1.0


class Prober:
    """Asks, one question at a time for each replica, and notes what it hears.

    A position that is known and far enough is good for as long as the replica runs, so
    most reads that must see something ask nothing.

    Args:
        primary: its alias.
        health: takes the answers.
        servers: the way to the servers.
        clock: monotonic seconds.
        sleep: waits for so many seconds.

    """

    def __init__(
        self,
        primary: str,
        health: ReplicaHealth,
        servers: Servers,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._primary = primary
        self._health = health
        self._servers = servers
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()  # guards _asking
        self._asking: dict[str, threading.Event] = {}
        self._asked: dict[str, float] = {}

    # -- for writes ------------------------------------------------------------------------

    def written(self) -> Position | None:
        """Return where the primary's log ends; None if it cannot tell.

        Raises:
            ServerFailed: the primary did not answer.
            NotAsked: there was no connection to ask by.

        """
        with self._servers.log_of(self._primary) as log:
            position = log.written()
        if position is not None:
            self._health.sample(position)
        return position

    # -- for reads -------------------------------------------------------------------------

    def find(self, position: Position, first: str) -> str | None:
        """Return a replica that has reached a position, waiting a little if need be.

        Args:
            position: what a read must see.
            first: the replica to try first.

        """
        deadline = self._clock() + WAIT
        while True:
            for alias in self._in_order(first):
                if self._has_reached(alias, position, deadline):
                    return alias
            if self._clock() + POLL >= deadline or not self._worth_waiting():
                return None
            self._sleep(POLL)

    def _in_order(self, first: str) -> list[str]:
        others = [c.alias for c in self._health.ready if c.alias != first]
        return [first, *others] if first in self._health.alive else others

    def _worth_waiting(self) -> bool:
        lags = [self._health.lag(candidate.alias) for candidate in self._health.ready]
        return any(lag is None or lag < HOPELESS for lag in lags)

    def _has_reached(self, alias: str, position: Position, deadline: float) -> bool:
        if self._health.has_reached(alias, position):
            return True
        self._ask_once(alias, deadline)
        return self._health.has_reached(alias, position)

    def _ask_once(self, alias: str, deadline: float) -> None:
        """Ask, or wait for the answer that somebody else gets."""
        with self._lock:
            others = self._asking.get(alias)
            if others is None:
                if self._clock() - self._asked.get(alias, -POLL) < POLL:
                    return
                mine = self._asking[alias] = threading.Event()
        if others is not None:
            others.wait(max(0.0, deadline - self._clock()))
            return
        try:
            self.ask(alias)
        finally:
            self._asked[alias] = self._clock()
            with self._lock:
                del self._asking[alias]
            mine.set()

    def ask(self, alias: str) -> bool:
        """Ask a replica for its position and note it; False if it is out of order."""
        health = self._health
        try:
            with self._servers.log_of(alias) as log:
                run = health.run(alias)
                health.learn(alias, log.replayed(), run)
        except ServerFailed as failure:
            if health.eject(alias, hangs=failure.hangs):
                logger.warning("replica %r is out of service: %s", alias, failure)
            return False
        except NotAsked:
            return alias in health.alive
        return True

    # -- for the monitor -------------------------------------------------------------------

    def look(self, alias: str) -> None:
        """See how a server is: sample the primary, ask a replica, probe an ejected one."""
        if alias == self._primary:
            self._look_at_primary()
        elif alias in self._health.alive:
            self.ask(alias)
        elif self._health.begin_probe(alias) and self.ask(alias):
            self._health.readmit(alias)
            logger.info("replica %r is back in service", alias)

    def _look_at_primary(self) -> None:
        try:
            self.written()
        except ServerFailed:
            self._health.note_primary_down()
        except NotAsked:
            pass
