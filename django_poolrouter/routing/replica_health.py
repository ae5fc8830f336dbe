"""What a process knows of the replicas of a cluster, and which of them may be read.

A replica is up, or **ejected**: it failed, and stays out until a probe, not before the
cool-down is over, finds it well.  One that is up may **lag** beyond MAX_LAG: it works, but
only reads that cannot do better go there.  Whatever it is, an operator may have **drained** it.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial

from .balancers import Candidate
from .config import ClusterConfig
from .lag import History
from .positions import Position
from .surroundings import State, Surroundings

# Seconds from a failure to the next probe.
COOL_DOWN = 3.0
# Seconds from the first look at a primary in which a replica may catch up with it.
GRACE = 2.0


@dataclass(slots=True)
class _Record:
    """What is known of one replica."""

    candidate: Candidate
    position: Position | None = None
    """At least so far has it replayed, for as long as it runs."""
    run: int = 0
    """Grows when it may have been started anew, perhaps behind its position."""
    lag: float | None = None
    lags: bool = False
    drained: bool = False
    ejected_until: float | None = None
    hangs: bool = False
    prober: int = 0
    """The thread that probes it."""


class ReplicaHealth:
    """The replicas of one cluster.

    Args:
        config: of the cluster.
        surroundings: the process around it.

    """

    def __init__(self, config: ClusterConfig, surroundings: Surroundings) -> None:
        candidates = [
            Candidate(replica.alias, replica.weight, partial(surroundings.in_use, replica.alias))
            for replica in config.replicas
        ]
        self._max_lag = config.max_lag
        # Rather read from replicas that lag, if most do, than send all reads to the primary.
        self._spare_primary = config.fallback == "primary"
        self._clock = surroundings.clock
        self._on_change = surroundings.on_change
        self._on_look = surroundings.on_look
        # The lock guards all that follows, for a few instructions at a time.
        self._lock = threading.Lock()
        self._records = {candidate.alias: _Record(candidate) for candidate in candidates}
        self._history = History()
        self._primary_is_down = False
        self.epoch: str | None = None
        """The history that the primary writes, once it was asked."""
        # Replaced as a whole under the lock, read without it.
        self.ready: tuple[Candidate, ...] = tuple(candidates)
        """Those that reads are balanced over."""
        self.alive: Mapping[str, Candidate] = {c.alias: c for c in candidates}
        """Those that are neither ejected nor drained."""

    # -- what is known -------------------------------------------------------------------

    def state(self, alias: str) -> State:
        """Return what is to be said of a replica."""
        if self._records[alias].drained:
            return "drained"
        if alias not in self.alive:
            return "ejected"
        return "lagging" if self._records[alias].lags else "up"

    def lag(self, alias: str) -> float | None:
        """Return the lag found last, in seconds; None if there is no figure."""
        return self._records[alias].lag

    def run(self, alias: str) -> int:
        """Return what ``learn`` wants to know; ask for it when the connection is there."""
        return self._records[alias].run

    def has_reached(self, alias: str, position: Position) -> bool:
        """Tell whether a replica is known to show all that was written up to a position."""
        known = self._records[alias].position
        return known is not None and known.reaches(position)

    # -- what is found out -----------------------------------------------------------------

    def learn(self, alias: str, position: Position | None, run: int) -> None:
        """A replica answered that it is here; the newest answer counts, be it lower or not.

        Args:
            alias: of the replica.
            position: None if it answered, but cannot tell.
            run: what ``run`` said before it was asked.

        """
        with self._lock:
            record = self._records[alias]
            if record.run == run:
                record.position = position
                now = self._clock()
                record.lag = self._history.lag(position, now)
                record.lags = self._lags(position, record.lag, now)
                self._publish()
        self._tell(alias)

    def forget(self, alias: str) -> None:
        """Something connects to a replica: perhaps because it was started anew.

        After a crash it may show less than before, until it has caught up.
        """
        with self._lock:
            record = self._records[alias]
            record.position = None
            record.run += 1

    def sample(self, position: Position) -> None:
        """The primary's log ends here now."""
        with self._lock:
            self._history.add(position, self._clock())
            self.epoch = position.epoch
            if self._primary_is_down:
                self._primary_is_down = False
                self._publish()

    def note_primary_down(self) -> None:
        """The primary failed: what its replicas lack nobody can say, and nobody else has more."""
        with self._lock:
            self._primary_is_down = True
            self._publish()

    def eject(self, alias: str, *, hangs: bool = False) -> bool:
        """A replica failed; returns whether that is news.

        Args:
            alias: of the replica.
            hangs: it failed by keeping its caller waiting, so that nobody else should try.

        """
        with self._lock:
            record = self._records[alias]
            news = record.ejected_until is None
            record.ejected_until = self._clock() + COOL_DOWN
            record.hangs = hangs or (record.hangs and not news)
            record.position = record.lag = None
            record.run += 1
            self._publish()
        self._tell(alias)
        if news:
            self._on_change(alias, False)
        return news

    def readmit(self, alias: str) -> None:
        """A probe found a replica well."""
        with self._lock:
            record = self._records[alias]
            news = record.ejected_until is not None
            record.ejected_until = None
            record.hangs = False
            self._publish()
        self._tell(alias)
        if news:
            self._on_change(alias, True)

    def begin_probe(self, alias: str) -> bool:
        """Tell whether the caller, alone, may probe an ejected replica now."""
        with self._lock:
            record = self._records[alias]
            if record.ejected_until is None or self._clock() < record.ejected_until:
                return False
            # Until this probe is over, or gave no answer for as long again, nobody else.
            record.ejected_until = self._clock() + COOL_DOWN
            record.prober = threading.get_ident()
            return True

    def refuses(self, alias: str) -> bool:
        """Tell whether a connect would only hang; the prober may try."""
        record = self._records[alias]
        return record.hangs and record.prober != threading.get_ident()

    def drain(self, drained: Collection[str]) -> None:
        """Let nobody read from these replicas from now on, and from all others again."""
        with self._lock:
            for alias, record in self._records.items():
                record.drained = alias in drained
            self._publish()

    def _tell(self, alias: str) -> None:
        self._on_look(alias, self.state(alias), self.lag(alias))

    # -- who may be read ---------------------------------------------------------------------

    def _lags(self, position: Position | None, lag: float | None, now: float) -> bool:
        """Tell whether a replica is too far behind; the caller holds the lock."""
        if self._max_lag is None or not self._history:
            return False
        if position is None:  # nothing replicates there, or nothing was replayed yet
            return True
        if lag is None:  # behind all that we saw of the primary, which is not much at first
            return self._history.age(now) > GRACE
        return lag > self._max_lag

    def _publish(self) -> None:
        """Say anew who may be read; the caller holds the lock."""
        here = [record for record in self._records.values() if not record.drained]
        alive = [record for record in here if record.ejected_until is None]
        ready = [record for record in alive if not record.lags]
        most_lag = len(self._records) > 1 and 2 * len(ready) < len(alive)
        if self._primary_is_down or (self._spare_primary and most_lag):
            ready = alive
        self.alive = {record.candidate.alias: record.candidate for record in alive}
        self.ready = tuple(record.candidate for record in ready)
