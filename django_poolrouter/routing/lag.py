"""How many seconds a replica is behind its primary.

The usual formula is the age of the last replayed transaction.  It reports lag for a replica whose
primary is idle.  The usual repair is "no lag if all that was received is replayed".  But that
reports no lag for a replica that has lost its link to the primary.  A comparison with the primary's
own positions has neither fault.  It needs no privilege and no heartbeat table.

Lag means the same everywhere: for how many seconds, at most, a replica has lacked something that
its primary wrote.  ``History`` measures it in a process that monitors the primary.
``at_one_look`` measures it from one question to each server.
"""

from __future__ import annotations

from collections import deque

from .positions import Position

# With one sample a second, lags of up to about ten minutes have a figure.
SAMPLES = 600


class History:
    """The newest positions of a primary, and when each was seen.  All are of one epoch."""

    def __init__(self, samples: int = SAMPLES) -> None:
        self._samples: deque[tuple[float, Position]] = deque(maxlen=samples)

    def __len__(self) -> int:
        return len(self._samples)

    def add(self, position: Position, now: float) -> None:
        """Remember where the primary's log ended; forget the positions of another epoch."""
        if self._samples and self._samples[-1][1].epoch != position.epoch:
            self._samples.clear()
        self._samples.append((now, position))

    def lag(self, replayed: Position | None, now: float) -> float | None:
        """Return the lag in seconds of a replica at this position.

        It is 0.0 if the replica has reached the newest known position of the primary.  If it has
        not reached the oldest, its lag is the age of its position.  The lag is None if it is not
        known.  Then the replica reported no position, or one of another epoch, or no age.
        """
        if replayed is None or not self._samples:
            return None
        for age, (seen, position) in enumerate(reversed(self._samples)):
            if replayed.reaches(position):
                return now - seen if age else 0.0
        return replayed.age if replayed.epoch == self._samples[-1][1].epoch else None


def at_one_look(
    written: Position | None,
    replayed: Position | None,
    *,
    told_s: float | None = None,
    age_s: float | None = None,
) -> float | None:
    """Return the lag of a replica in seconds, from one question to each server.

    It is 0.0 if the replica has all that the primary wrote, and None if the lag is not known.

    Args:
        written: where the primary's log ended, before the replica was asked.
        replayed: the position that the replica had reached.
        told_s: seconds behind the primary, if the replica's server reports them.
        age_s: seconds since the last transaction that the replica replayed.  This is an upper
            bound, but only for a replica that lacks something.

    """
    if written is None or replayed is None:
        return told_s
    if replayed.reaches(written):
        return 0.0
    return age_s if told_s is None else told_s
