"""How each process finds a replica: a few words on the page of the replica's pool.

The thread that asked the replica writes them when it answers or fails, with the time.  Old words
say nothing: a process does not look at a replica that it does not read, and a stopped process
looks at none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...pooling.counters import NOTES
from ...routing import State

# From good to bad.  A replica has the worst state that any process found.
STATES: tuple[State, ...] = ("up", "lagging", "ejected", "drained")
# Seconds.  An ejected replica that hangs is noted only about every six seconds.
STALE = 15.0
UNKNOWN = -1

SEEN, STATE, LAG = range(NOTES, NOTES + 3)  # monotonic ns or 0, index, ns or UNKNOWN


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """How a process found a replica."""

    state: State
    lag_s: float | None
    """Seconds behind the primary; None if there is no figure."""


def note(words: memoryview, state: State, lag: float | None, now: int) -> None:
    """Write how a replica was found; ``lag`` is in seconds, ``now`` in monotonic nanoseconds."""
    words[STATE] = STATES.index(state)
    words[LAG] = UNKNOWN if lag is None else int(lag * 1e9)
    words[SEEN] = now


def read(words: Sequence[int], now: int) -> ReplicaState | None:
    """Return what the words say; None if they are old, or were never written.

    Raises:
        ValueError: they name no state that exists.

    """
    if not words[SEEN] or now - words[SEEN] > STALE * 1e9:
        return None
    if not 0 <= words[STATE] < len(STATES):
        raise ValueError("not a state of a replica")
    lag = words[LAG]
    return ReplicaState(STATES[words[STATE]], None if lag == UNKNOWN else lag / 1e9)


def worst(found: Iterable[ReplicaState | None]) -> ReplicaState | None:
    """Return the worst state and the greatest lag of all; None if no process has looked."""
    seen = [health for health in found if health is not None]
    if not seen:
        return None
    return ReplicaState(
        max((health.state for health in seen), key=STATES.index),
        max((health.lag_s for health in seen if health.lag_s is not None), default=None),
    )
