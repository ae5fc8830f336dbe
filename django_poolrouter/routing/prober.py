"""Asks the servers of one cluster for their positions, for the monitor and for reads."""

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
# Seconds for which a look at a server is current.  The monitor looks once a second.
CURRENT = 2.5
# Seconds that the first read waits until the monitor has looked at the primary.
FIRST_LOOK = 1.0
# A replica with a lag of more seconds than this will not catch up while a read waits.
HOPELESS = 1.0


class Prober:
    """Asks servers for their positions and notes the answers.

    Reads ask each replica one question at a time.  A replica that has reached a position stays
    there or beyond while it runs.  So most reads that must see a position need not ask.

    Args:
        primary: the alias of the primary.
        health: receives the answers.
        servers: gives access to the servers.
        clock: returns monotonic seconds.
        sleep: waits for a number of seconds.

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
        self._looked: dict[str, float] = {}  # when each server was looked at last
        self._began: float | None = None  # when the primary was looked at first
        self._has_looked = threading.Condition()
        self._told_of: tuple[str, ...] = ()

    # -- for writes ------------------------------------------------------------------------

    def written(self) -> Position | None:
        """Return where the primary's log ends; None if it cannot tell.

        Raises:
            ServerFailed: the primary did not answer.
            NotAsked: no connection was free.

        """
        with self._servers.log_of(self._primary) as log:
            position = log.written()
        if position is not None:
            self._health.sample(position)
        return position

    # -- for reads -------------------------------------------------------------------------

    def find(self, position: Position, first: str) -> str | None:
        """Return a replica that has reached a position; None if none does within WAIT seconds.

        Args:
            position: the position that a read must see.
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
        return [first, *others] if self._health.may_be_read(first) else others

    def _worth_waiting(self) -> bool:
        lags = [self._health.lag(candidate.alias) for candidate in self._health.ready]
        return any(lag is None or lag < HOPELESS for lag in lags)

    def _has_reached(self, alias: str, position: Position, deadline: float) -> bool:
        if self._health.has_reached(alias, position):
            return True
        self._ask_once(alias, deadline)
        return self._health.has_reached(alias, position)

    def _ask_once(self, alias: str, deadline: float) -> None:
        """Ask a replica; if another thread is asking it, wait for that answer instead."""
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
        """Ask a replica for its position and note it; return False if the replica failed.

        If no connection is free, the result is what was known before.
        """
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
        finally:
            self._looked[alias] = self._clock()
        return True

    # -- for the first reads ---------------------------------------------------------------

    def is_current(self, alias: str) -> bool:
        """Tell whether the primary and a replica were looked at a short while ago.

        The lag of a replica that was looked at before the primary is not known.
        """
        looked, began = self._looked.get(alias), self._began
        is_first = looked is None or began is None or looked < began
        return not is_first and self._is_looked_at(self._primary) and self._is_looked_at(alias)

    def make_current(self, alias: str, *, is_watched: bool) -> None:
        """Find out how far a replica is behind, where no look is current.

        Without this, the first reads of a process could be older than MAX_LAG.

        Args:
            alias: the replica.
            is_watched: whether the monitor looks at the primary about now.

        """
        if is_watched:
            with self._has_looked:
                self._has_looked.wait_for(lambda: self._is_looked_at(self._primary), FIRST_LOOK)
        elif not self._is_looked_at(self._primary):
            self._look_at_primary()
        deadline = self._clock() + WAIT
        self._ask_once(alias, deadline)
        # Most replicas are a little behind.  A moment later this one may have reached what the
        # primary had written before.
        while self._health.lag(alias) is None and self._clock() + POLL < deadline:
            self._sleep(POLL)
            self._ask_once(alias, deadline)

    def _is_looked_at(self, alias: str) -> bool:
        looked = self._looked.get(alias)
        return looked is not None and self._clock() - looked <= CURRENT

    # -- for the monitor -------------------------------------------------------------------

    def look(self, alias: str) -> None:
        """Look at one server: sample the primary, ask a replica, or probe an ejected one."""
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
        except ServerFailed as failure:
            self._health.note_primary_down()
            lagging = self._health.lagging()
            if lagging and lagging != self._told_of:
                logger.warning(
                    "the primary %r does not answer (%s): reads go to replicas that lag: %s",
                    *(self._primary, failure, ", ".join(lagging)),
                )
            self._told_of = lagging
        except NotAsked:
            pass
        finally:
            with self._has_looked:
                self._looked[self._primary] = self._clock()
                self._began = self._began or self._looked[self._primary]
                self._has_looked.notify_all()
