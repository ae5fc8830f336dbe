"""Which replica is next: small pure functions, chosen by name.

A balancer takes the candidates, at least one, and the turn, a number that grows by one
with each choice, and returns one of the candidates.
"""

from __future__ import annotations

import random as _random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """A replica that may be chosen."""

    alias: str
    weight: int = 1
    in_use: Callable[[], int] = int
    """Tells how many of its connections this process has leased."""


Balancer = Callable[[Sequence[Candidate], int], Candidate]


def round_robin(candidates: Sequence[Candidate], turn: int) -> Candidate:
    """Each in turn."""
    return candidates[turn % len(candidates)]


def random(candidates: Sequence[Candidate], turn: int) -> Candidate:
    """Any, with equal chances."""
    return _random.choice(candidates)  # noqa: S311 (not for secrets)


def weighted(candidates: Sequence[Candidate], turn: int) -> Candidate:
    """Each as often as its weight says, interleaved.

    Walks the turns with a stride that shares no factor with the sum of the weights, so
    that every run of ``sum`` turns gives each candidate exactly its weight, not in blocks.
    """
    total = sum(candidate.weight for candidate in candidates)
    place = turn * _stride(total) % total
    for candidate in candidates:
        place -= candidate.weight
        if place < 0:
            return candidate
    raise AssertionError("bug: the weights do not add up")


def least_used(candidates: Sequence[Candidate], turn: int) -> Candidate:
    """The one with the fewest leased connections; in turn where several have."""
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


def _stride(total: int) -> int:
    """Return the number nearest to the golden section of ``total`` that is coprime to it."""
    from math import gcd

    stride = max(1, round(total * 0.618))
    while gcd(stride, total) != 1:
        stride -= 1
    return stride
