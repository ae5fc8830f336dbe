"""Contestants that take turns, so that a busy moment of the machine hits all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def nanoseconds(work: Callable[[], object], times: int) -> float:
    """Return the time of one call."""
    began = time.perf_counter_ns()
    for _ in range(times):
        work()
    return (time.perf_counter_ns() - began) / times


def compare(
    contestants: Mapping[str, Callable[[], float]], rounds: int = 7
) -> dict[str, list[float]]:
    """Ask each contestant once in each round; returns the answers of all rounds.

    The order is turned around each time: the first of a round may have an advantage.
    """
    answers: dict[str, list[float]] = {name: [] for name in contestants}
    order = list(contestants.items())
    for _ in range(rounds):
        for name, ask in order:
            answers[name].append(ask())
        order.reverse()
    return answers


def ratio(ours: list[float], theirs: list[float]) -> float:
    """Return the median of the ratios within the rounds."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def verdict(what: str, value: float, limit: float, *, at_least: bool = False) -> str:
    """Return a line that says whether a figure is within its limit."""
    holds = value >= limit if at_least else value <= limit
    sign = ">=" if at_least else "<="
    return f"{'ok  ' if holds else 'MISS'}  {what}: {value:.3f} (wanted {sign} {limit:g})"
