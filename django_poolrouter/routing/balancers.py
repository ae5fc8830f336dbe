"""Balancers choose the next replica.  They are small pure functions, selected by name.

A balancer ``f(candidates, turn)`` returns one of the candidates.  There is at least one candidate.
The turn is a number that grows by one with each choice.
"""

from __future__ import annotations

import random as _random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Candidate:
    """A replica that may be chosen."""

    alias: str
    weight: int = 1
    in_use: Callable[[], int] = lambda: 0
    """Returns how many of its connections this process has leased."""


Balancer = Callable[[Sequence[Candidate], int], Candidate]


def round_robin(candidates: Sequence[Candidate], turn: int) -> Candidate:
    """Return each candidate in turn."""
    return candidates[turn % len(candidates)]


def random(candidates: Sequence[Candidate], turn: int) -> Candidate:
    """Return any candidate, with equal probability."""
    return _random.choice(candidates)  # noqa: S311 (not for secrets)


def weighted(candidates: Sequence[Candidate], turn: int) -> Candidate:
    """Return each candidate as often as its weight says.

    One cycle has as many turns as the weights add up to.  In each cycle a candidate gets exactly
    as many turns as its weight, spread evenly and not in blocks.
    """
    cycle = _cycle(tuple(candidate.weight for candidate in candidates))
    return candidates[cycle[turn % len(cycle)]]


def least_used(candidates: Sequence[Candidate], turn: int) -> Candidate:
    """Return the candidate with the fewest leased connections; if several have, in turn."""
    loads = [candidate.in_use() for candidate in candidates]
    least = min(loads)
    return round_robin(
        [c for c, load in zip(candidates, loads, strict=True) if load == least], turn
    )


BALANCERS: Mapping[str, Balancer] = {
    "round_robin": round_robin,
    "random": random,
    "weighted": weighted,
    "least_used": least_used,
}


@lru_cache(maxsize=64)
def _cycle(weights: tuple[int, ...]) -> tuple[int, ...]:
    """Return one cycle of indexes; the turns of each candidate are evenly spaced."""
    turns = (
        ((2 * number + 1) / (2 * weight), place)
        for place, weight in enumerate(weights)
        for number in range(weight)
    )
    return tuple(place for _, place in sorted(turns))
