"""Carries what one scope wrote to a later scope: the user's next request, or a task.

Cookies and the headers of tasks have the same format, a mapping that JSON can hold.  The keys are
the primaries of clusters.  Each value is one of these:

- A number: reads of the cluster stay on the primary until this time.
- A list: the time of the write, the position that a replica must have reached, and perhaps a
  third item.  That is a number as above, for a write that the position does not cover.

All times are Unix times in seconds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from .cluster import Cluster
from .logs import NotAsked, ServerFailed
from .positions import MAX_STREAMS, Position
from .scopes import Scope

WallClock = Callable[[], float]

# Seconds for which a position is carried.  A replica that lags more than this may not show users
# all that they wrote.
CARRIED = 600.0


def pack(
    scope: Scope,
    clusters: Iterable[Cluster],
    in_transaction: Callable[[str], bool] = lambda primary: False,
    *,
    wall_clock: WallClock = time.time,
) -> dict[str, Any]:
    """Return what a later scope must know about this one; empty if there is nothing to know.

    It asks each primary that the scope wrote to where its log ends.  Call it when the
    transactions are over.  If one is still open, or if a primary cannot tell, the later scope is
    pinned for a time instead.

    Args:
        scope: a scope that ends, or one that sends a job.
        clusters: the clusters whose writes may be carried.
        in_transaction: tells whether the caller is in a transaction on a primary.  It may still
            write something there that the later scope must see.
        wall_clock: returns the Unix time in seconds.

    """
    now = wall_clock()
    carried = {
        cluster.primary: _pack_one(scope, cluster, now, in_transaction(cluster.primary))
        for cluster in clusters
    }
    return {primary: value for primary, value in carried.items() if value}


def _pack_one(scope: Scope, cluster: Cluster, now: float, goes_on: bool) -> Any:
    primary = cluster.primary
    wrote = primary in scope.wrote
    if wrote and not goes_on:
        position = _capture(scope, cluster)
        if position is not None:
            # Carry the pin too: a transaction of this scope's sender may still be open, and the
            # position does not cover what it commits later.
            pin = scope.brought.get(primary, 0.0)
            return [_milliseconds(now), str(position), *([_milliseconds(pin)] if pin > now else [])]
    left = scope.pinned_for(primary, cluster.pin_seconds)
    if goes_on or (wrote and cluster.uses_positions):
        left = max(left, cluster.blind_seconds)
    until = [_milliseconds(now + left)] if left else []
    brought = scope.positions.get(primary)
    if brought is None:
        return until[0] if until else None
    return [_milliseconds(brought[1]), str(brought[0]), *until]


def _capture(scope: Scope, cluster: Cluster) -> Position | None:
    if not cluster.uses_positions or cluster.prober is None or scope.is_writing(cluster.primary):
        return None
    try:
        position = cluster.prober.written()
    except (ServerFailed, NotAsked):
        return None
    return position if position and len(position.places) <= MAX_STREAMS else None


def unpack(
    carried: object,
    clusters: Mapping[str, Cluster],
    scope: Scope | None = None,
    *,
    wall_clock: WallClock = time.time,
) -> Scope:
    """Return a scope that knows what was carried; ignore values that ``pack`` did not make.

    Args:
        carried: any value, because it comes from outside.
        clusters: all clusters by primary.  Entries for other clusters are ignored.
        scope: the scope to update; a new one by default.
        wall_clock: returns the Unix time in seconds.

    """
    scope = Scope() if scope is None else scope
    now = wall_clock()
    for primary, value in carried.items() if isinstance(carried, dict) else ():
        cluster = clusters.get(primary)
        if cluster is None:
            continue
        if isinstance(value, float):
            _unpack_pin(scope, cluster, value, now)
        elif isinstance(value, list):
            _unpack_position(scope, cluster, value, now)
    return scope


def _unpack_pin(scope: Scope, cluster: Cluster, until: float, now: float) -> None:
    # Pin no longer than a write at this moment would: the clocks of two hosts differ.
    left = min(until - now, cluster.blind_seconds)
    if left > 0:
        scope.pin(cluster.primary, left)
        until = now + left
        scope.brought[cluster.primary] = max(until, scope.brought.get(cluster.primary, until))


def _unpack_position(scope: Scope, cluster: Cluster, value: list[Any], now: float) -> None:
    if not _is_ours(value):
        return
    written_at, text, *until = value
    try:
        position = Position.parse(text)
    except (ValueError, AttributeError):
        return
    for end in until:
        _unpack_pin(scope, cluster, end, now)
    if not now - written_at < CARRIED:
        return
    if cluster.uses_positions:
        scope.positions[cluster.primary] = (position, min(written_at, now))
    else:
        _unpack_pin(scope, cluster, written_at + cluster.pin_seconds, now)


def merge(*carried: object) -> dict[str, Any]:
    """Join several mappings that ``pack`` made; leave out values that it did not make.

    A position is the end of the log at some time, so the furthest position covers all others.
    The longest pin covers all other pins.
    """
    merged: dict[str, Any] = {}
    for one in carried:
        for primary, value in one.items() if isinstance(one, dict) else ():
            if _is_ours(value):
                merged[primary] = _joined(merged.get(primary, []), value)
    return merged


def _joined(one: Any, other: Any) -> Any:
    (positions, pins), (more_positions, more_pins) = _parts(one), _parts(other)
    both = positions + more_positions
    position = _further(*both) if len(both) == 2 else both[0] if both else []
    pin = [max(pins + more_pins)] if pins or more_pins else []
    return [*position, *pin] if position else pin[0]


def _further(one: list[Any], other: list[Any]) -> list[Any]:
    with suppress(ValueError, AttributeError):
        place, other_place = Position.parse(one[1]), Position.parse(other[1])
        if place.reaches(other_place) or other_place.reaches(place):
            return one if place.reaches(other_place) else other
    # Neither position covers the other, for example after a promotion.  The later write counts,
    # by the clocks of hosts, which may differ.
    return max(one, other, key=lambda each: each[0])


def _parts(value: Any) -> tuple[list[list[Any]], list[Any]]:
    """Return the position and the pin, each in a list that is empty if there is none."""
    if not isinstance(value, list):
        return [], [value]
    return [value[:2]] if value else [], value[2:]


def _is_ours(value: object) -> bool:
    positions, pins = _parts(value)
    times = [position[0] for position in positions] + pins
    is_whole = not isinstance(value, list) or 2 <= len(value) <= 3
    return is_whole and all(isinstance(t, float) and not math.isnan(t) for t in times)


def seconds_left(carried: Mapping[str, Any], wall_clock: WallClock = time.time) -> float:
    """Return for how many seconds a mapping that ``pack`` made is worth carrying."""
    ends = []
    for positions, pins in map(_parts, carried.values()):
        ends += [written_at + CARRIED for written_at, _ in positions] + pins
    return float(max(ends) - wall_clock())


def _milliseconds(seconds: float) -> float:
    """Cut a time to milliseconds, to keep cookies short; ``unpack`` accepts only floats."""
    return math.floor(seconds * 1000) / 1000
