"""How far a replica is behind, from what the primary's log was at known times.

The textbook formula, the age of the last replayed transaction, makes the replica of an idle
primary seem to lag; repaired by "unless all that was received is replayed", it calls a
replica fresh whose link is dead.  The primary's own positions have neither fault, and need
no privilege and no heartbeat table.

Lag means the same everywhere: for how many seconds, at most, a replica has lacked something that
its primary wrote.  ``History`` tells it to a process that watches the primary, ``at_one_look``
to one that asks both servers once.
"""

from __future__ import annotations

from collections import deque

from .positions import Position

# At one sample a second: lags of up to some ten minutes have a figure.
SAMPLES = 600


class History:
    """The newest positions of a primary, and when each was seen; all of one epoch."""

    def __init__(self, samples: int = SAMPLES) -> None:
        self._samples: deque[tuple[float, Position]] = deque(maxlen=samples)

    def __len__(self) -> int:
        return len(self._samples)

    def age(self, now: float) -> float:
        """Return for how many seconds the primary has been known; 0.0 if it is not."""
        return now - self._samples[0][0] if self._samples else 0.0

    def add(self, position: Position, now: float) -> None:
        """Remember where the primary's log stood; a new epoch makes all before it worthless."""
        if self._samples and self._samples[-1][1].epoch != position.epoch:
            self._samples.clear()
        self._samples.append((now, position))

    def lag(self, replayed: Position | None, now: float) -> float | None:
        """Return for how many seconds a replica at this position lacks something, at most.

        0.0 if it has all that is known of the primary.  None if that cannot be told: it
        reported no position or one of another epoch, or has less than the oldest sample.
        """
        if replayed is None:
            return None
        for age, (seen, position) in enumerate(reversed(self._samples)):
            if replayed.reaches(position):
                return now - seen if age else 0.0
        return None


def at_one_look(
    written: Position | None,
    replayed: Position | None,
    *,
    told_s: float | None = None,
    age_s: float | None = None,
) -> float | None:
    """Return the lag of a replica in seconds, from one question to each server.

    0.0 if it has all that the primary wrote.  None if that cannot be told.

    Args:
        written: where the primary's log ended, before the replica was asked.
        replayed: how far the replica had come.
        told_s: seconds behind its primary, if the replica's server knows them.
        age_s: seconds since the last transaction that it replayed: an upper bound, but only for
            a replica that lacks something.

    """
    if written is None or replayed is None:
        return told_s
    if replayed.reaches(written):
        return 0.0
    return age_s if told_s is None else told_s
