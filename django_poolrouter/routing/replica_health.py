"""What a process knows about the replicas of a cluster, and which of them may be read.

A replica that failed is **ejected**.  It gets no reads until a probe succeeds.  The first probe
comes after a cool-down.  A replica that works may **lag** beyond MAX_LAG.  It is chosen only if
the primary is down, or if most replicas lag and FALLBACK is "lagging".  In each of these states,
an operator may also have **drained** it.
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


@dataclass(slots=True)
class _Record:
    """What is known about one replica."""

    candidate: Candidate
    position: Position | None = None
    """The replica has replayed at least up to here.  This holds until it restarts."""
    run: int = 0
    """Grows each time that the replica may have restarted, perhaps with less than before."""
    lag: float | None = None
    lags: bool = False
    drained: bool = False
    ejected_until: float | None = None
    hangs: bool = False
    prober: int = 0
    """The identifier of the thread that probes it."""


class ReplicaHealth:
    """The state of the replicas of one cluster.

    Args:
        config: the settings of the cluster.
        surroundings: its servers, clocks and listeners.

    """

    def __init__(self, config: ClusterConfig, surroundings: Surroundings) -> None:
        candidates = [
            Candidate(replica.alias, replica.weight, partial(surroundings.in_use, replica.alias))
            for replica in config.replicas
        ]
        self._max_lag = config.max_lag
        # If most replicas lag, read from them: all reads at once could overload the primary.
        self._spare_primary = config.fallback == "lagging"
        self._clock = surroundings.clock
        self._on_change = surroundings.on_change
        self._on_look = surroundings.on_look
        # The lock guards everything below.  It is held for a few instructions at a time.
        self._lock = threading.Lock()
        self._records = {candidate.alias: _Record(candidate) for candidate in candidates}
        self._history = History()
        self._primary_is_down = False
        self.epoch: str | None = None
        """The epoch of the primary; None until the primary is asked."""
        # Replaced as a whole under the lock, read without it.
        self.ready: tuple[Candidate, ...] = tuple(candidates)
        """The replicas that reads are balanced over."""
        self._ready_aliases = frozenset(self._records)
        self.alive: Mapping[str, Candidate] = {c.alias: c for c in candidates}
        """The replicas that are neither ejected nor drained."""

    # -- what is known -------------------------------------------------------------------

    def state(self, alias: str) -> State:
        """Return the state of a replica, as it is reported."""
        if self._records[alias].drained:
            return "drained"
        if alias not in self.alive:
            return "ejected"
        return "lagging" if self._records[alias].lags else "up"

    def lag(self, alias: str) -> float | None:
        """Return the newest lag in seconds; None if it is not known."""
        return self._records[alias].lag

    def run(self, alias: str) -> int:
        """Return the number of the replica's run, for ``learn``.

        Call it when the connection is open, because opening a connection raises the number.
        """
        return self._records[alias].run

    @property
    def primary_is_down(self) -> bool:
        """Whether the primary failed when it was asked last."""
        return self._primary_is_down

    def may_be_read(self, alias: str) -> bool:
        """Tell whether reads are balanced over a replica at this moment."""
        return alias in self._ready_aliases

    def lagging(self) -> tuple[str, ...]:
        """Return the replicas that lag, and that are read nevertheless."""
        return tuple(c.alias for c in self.ready if self._records[c.alias].lags)

    def has_reached(self, alias: str, position: Position) -> bool:
        """Tell whether a replica is known to have reached a position."""
        known = self._records[alias].position
        return known is not None and known.reaches(position)

    # -- what is found out -----------------------------------------------------------------

    def learn(self, alias: str, position: Position | None, run: int) -> None:
        """Note the position that a replica reported; the newest counts, even if it is lower.

        Args:
            alias: the replica.
            position: its position; None if it answered that it cannot tell.
            run: the result of ``run`` before the replica was asked.  The answer is dropped if the
                number has changed since.

        """
        with self._lock:
            record = self._records[alias]
            if record.run == run:
                record.position = position
                now = self._clock()
                record.lag = self._history.lag(position, now)
                record.lags = self._lags(position, record.lag)
                self._publish()
        self._report(alias)

    def forget(self, alias: str) -> None:
        """Forget the position of a replica, because a connection to it is about to be opened.

        The replica may have restarted.  After a crash it may show less than before until it has
        caught up.
        """
        with self._lock:
            record = self._records[alias]
            record.position = None
            record.run += 1

    def sample(self, position: Position) -> None:
        """Note where the primary's log ends now."""
        with self._lock:
            self._history.add(position, self._clock())
            self.epoch = position.epoch
            if self._primary_is_down:
                self._primary_is_down = False
                self._publish()

    def note_primary_down(self) -> None:
        """Note that the primary failed; from now on its lagging replicas may be read too.

        Without the primary their lag cannot be measured, and no other server has newer rows.
        """
        with self._lock:
            self._primary_is_down = True
            self._publish()

    def eject(self, alias: str, *, hangs: bool = False) -> bool:
        """Eject a replica that failed; return False if it was ejected already.

        Args:
            alias: the replica.
            hangs: whether it kept its caller waiting.  If so, no other caller should try.

        """
        with self._lock:
            record = self._records[alias]
            is_new = record.ejected_until is None
            record.ejected_until = self._clock() + COOL_DOWN
            record.hangs = hangs or (record.hangs and not is_new)
            record.position = record.lag = None
            record.run += 1
            self._publish()
        self._report(alias)
        if is_new:
            self._on_change(alias, False)
        return is_new

    def readmit(self, alias: str) -> None:
        """Put a replica back in service after a probe succeeded."""
        with self._lock:
            record = self._records[alias]
            was_ejected = record.ejected_until is not None
            record.ejected_until = None
            record.hangs = False
            self._publish()
        self._report(alias)
        if was_ejected:
            self._on_change(alias, True)

    def begin_probe(self, alias: str) -> bool:
        """Tell whether the caller may probe an ejected replica now; if so, no other caller may."""
        with self._lock:
            record = self._records[alias]
            if record.ejected_until is None or self._clock() < record.ejected_until:
                return False
            # No other caller may probe until this probe ends, or until another cool-down passes
            # without its answer.
            record.ejected_until = self._clock() + COOL_DOWN
            record.prober = threading.get_ident()
            return True

    def refuses(self, alias: str) -> bool:
        """Tell whether a connect would only hang; False for the thread that probes the replica."""
        record = self._records[alias]
        return record.hangs and record.prober != threading.get_ident()

    def drain(self, drained: Collection[str]) -> None:
        """Drain these replicas, and undrain all others."""
        with self._lock:
            for alias, record in self._records.items():
                record.drained = alias in drained
            self._publish()

    def _report(self, alias: str) -> None:
        self._on_look(alias, self.state(alias), self.lag(alias))

    # -- which replicas may be read ----------------------------------------------------------

    def _lags(self, position: Position | None, lag: float | None) -> bool:
        """Tell whether a replica is too far behind; the caller holds the lock."""
        if self._max_lag is None or not self._history:
            return False
        if position is None:  # nothing replicates there, or nothing was replayed yet
            return True
        # Without a lag, the replica is behind all positions that are known of the primary.
        return lag is None or lag > self._max_lag

    def _publish(self) -> None:
        """Update ``alive`` and ``ready``; the caller holds the lock."""
        undrained = [record for record in self._records.values() if not record.drained]
        alive = [record for record in undrained if record.ejected_until is None]
        ready = [record for record in alive if not record.lags]
        most_lag = len(self._records) > 1 and 2 * len(ready) < len(alive)
        if self._primary_is_down or (self._spare_primary and most_lag):
            ready = alive
        self.alive = {record.candidate.alias: record.candidate for record in alive}
        self.ready = tuple(record.candidate for record in ready)
        self._ready_aliases = frozenset(candidate.alias for candidate in self.ready)
