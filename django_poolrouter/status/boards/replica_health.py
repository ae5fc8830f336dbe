"""What the processes know of replicas: a few words on the page of each replica's pool.

They are written by whoever asked the replica, when it answered or failed, and with the time:
nobody looks at a replica that is not read, and a stopped process looks at none, so what is
old says nothing any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...pooling.counters import NOTES
from ...routing import State

# From good to bad: a replica is as bad as the process says that found it worst.
STATES: tuple[State, ...] = ("up", "lagging", "ejected", "drained")
# Seconds; an ejected replica that hangs is heard of every six.
STALE = 15.0
UNKNOWN = -1

SEEN, STATE, LAG = range(NOTES, NOTES + 3)  # monotonic ns or 0, index, ns or UNKNOWN


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """How a replica was found."""

    state: State
    lag_s: float | None
    """None where there is no figure."""


def note(words: memoryview, state: State, lag: float | None, now: int) -> None:
    """Write how a replica was found at the monotonic time ``now`` (ns)."""
    words[STATE] = STATES.index(state)
    words[LAG] = UNKNOWN if lag is None else int(lag * 1e9)
    words[SEEN] = now


def read(words: Sequence[int], now: int) -> ReplicaState | None:
    """Return what the words say; None if they are old, or nobody ever looked.

    Raises:
        ValueError: they say nothing that there is.

    """
    if not words[SEEN] or now - words[SEEN] > STALE * 1e9:
        return None
    if not 0 <= words[STATE] < len(STATES):
        raise ValueError("no state of a replica")
    lag = words[LAG]
    return ReplicaState(STATES[words[STATE]], None if lag == UNKNOWN else lag / 1e9)


def worst(found: Iterable[ReplicaState | None]) -> ReplicaState | None:
    """Return the worst state and the greatest lag of all; None if nobody knows anything."""
    known = [health for health in found if health is not None]
    if not known:
        return None
    return ReplicaState(
        max((health.state for health in known), key=STATES.index),
        max((health.lag_s for health in known if health.lag_s is not None), default=None),
    )
