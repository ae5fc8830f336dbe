"""Threads that play requests, each on the pool and on a connection of its own."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.db import connections

from tests.stress.sessions.dialects import THREADS, Dialect
from tests.stress.sessions.player import CONFLICT, Player
from tests.stress.sessions.requests import Maker, Request

MOST_SHOWN = 3
LEAST_REQUESTS = 200
PATIENCE = 60.0
"""Seconds that a slow machine may take for them."""


class Report:
    """Counts what the threads compared, and keeps the first differences."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.requests = self.answers = self.differences = self.conflicts = self.closes = 0
        self.shown: list[str] = []

    def compare(self, seed: str, request: Request, ours: list[Any], own: list[Any]) -> bool:
        """Return whether the answers are the same, or say nothing."""
        with self.lock:
            if CONFLICT in (ours, own):
                self.conflicts += 1
                return False
            self.requests += 1
            self.answers += len(own)
            if ours == own:
                return True
            self.differences += 1
            if len(self.shown) < MOST_SHOWN:
                self.shown.append(_shown(seed, request, ours, own))
            return False


def _shown(seed: str, request: Request, ours: list[Any], own: list[Any]) -> str:
    pairs = enumerate(zip(ours, own, strict=False))
    at = next((n for n, (a, b) in pairs if a != b), min(len(ours), len(own)))
    before = "".join(f"\n      {answer}" for answer in own[:at])
    return (
        f"{seed}: {request}\n  before:{before}\n  ours: {ours[at : at + 2]}"
        f"\n  own:  {own[at : at + 2]}"
    )


def hammer(dialect: Dialect, seed: str, is_enough: Callable[[Report], bool]) -> Report:
    """Play requests in `THREADS` threads until it is enough."""
    report = Report()
    start = threading.Barrier(THREADS)

    def work(number: int) -> None:
        pooled = Player("default", number, dialect, "beside")
        alone = Player(f"own{number}", number, dialect, f"own{number}_beside")
        players = (pooled, alone)
        start.wait()
        turn = 0
        try:
            while not is_enough(report):
                name = f"{seed}-{number}-{turn}"
                turn += 1
                request = Maker(random.Random(name), dialect).request()
                if not report.compare(name, request, *(player.play(request) for player in players)):
                    for player in players:
                        player.forget()
        finally:
            connections.close_all()
        with report.lock:
            report.closes += pooled.closes

    with ThreadPoolExecutor(THREADS) as executor:
        list(executor.map(work, range(THREADS)))
    return report


def until(seconds: float, most_differences: int) -> Callable[[Report], bool]:
    """Return what ends the hammer after some seconds, or after some differences.

    On a slow machine it goes on for `LEAST_REQUESTS`.
    """
    began = time.monotonic()

    def is_enough(report: Report) -> bool:
        passed = time.monotonic() - began
        has_enough = report.requests >= LEAST_REQUESTS or passed > seconds + PATIENCE
        return report.differences >= most_differences or (passed > seconds and has_enough)

    return is_enough
