"""Threads play requests made by chance, each on the pool and on a connection of its own."""

from __future__ import annotations

import json
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.integration.packages.tenants import project
from tests.integration.packages.tenants.scripted import Player, request

THREADS = 8
MOST_SHOWN = 3
PATIENCE = 60.0
"""Seconds that a slow machine may take for what the order wants at least."""


def see_no_override() -> None:
    """Switch off what finds overrides of ``connect``, ``close`` and ``_close``."""
    from django_poolrouter.backends import mixin
    from django_poolrouter.backends.wrapper.overrides import NOT_LOOKED_FOR

    mixin.overrides_of = lambda *ignored: NOT_LOOKED_FOR  # type: ignore[assignment]


def first_difference(ours: list[Any], own: list[Any]) -> int:
    pairs = enumerate(zip(ours, own, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(ours), len(own)))


def is_of_another_tenant(ours: list[Any], own: list[Any]) -> bool:
    """Tell whether rows of one tenant were read for another one, whose rows are there."""
    if not ours or not own or ours[0][0] != "read":
        return False
    return all(isinstance(outcome[0][1], list) for outcome in (ours, own))


class Report:
    """Counts what the threads compared, and says when it was enough."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.order = order
        self.began = time.monotonic()
        self.lock = threading.Lock()
        self.requests = self.answers = self.hooks = self.differences = self.foreign = 0
        self.shown: list[Any] = []

    def is_enough(self) -> bool:
        """Tell whether the threads may stop: a control goes on until it read foreign rows."""
        seconds = time.monotonic() - self.began
        if seconds > self.order["seconds"] + PATIENCE:
            return True
        if self.order["blind"]:
            return self.foreign > 0
        return seconds > self.order["seconds"] and self.hooks >= self.order["hooks"]

    def compare(self, seed: str, steps: list[Any], ours: list[Any], own: list[Any]) -> None:
        with self.lock:
            self.requests += 1
            self.answers += len(own)
            self.hooks += sum(outcome[0] == "hook ran" for outcome in own)
            if ours == own:
                return
            self.differences += 1
            at = first_difference(ours, own)
            self.foreign += is_of_another_tenant(ours[at : at + 1], own[at : at + 1])
            if len(self.shown) < MOST_SHOWN:
                self.shown.append(
                    {
                        "seed": seed,
                        "steps": steps,
                        "ours": ours[at : at + 2],
                        "own": own[at : at + 2],
                        "before": own[:at],
                    }
                )


def main() -> dict[str, Any]:
    order = project.order()
    project.set_up(order)
    if order["blind"]:
        see_no_override()
    report = Report(order)
    start = threading.Barrier(THREADS)

    def work(number: int) -> None:
        with project.beside(order["database"]) as ours, project.beside(order["twin"]) as own:
            pooled, alone = Player("default", number, ours), Player("own", number, own)
            start.wait()
            turn = 0
            try:
                while not report.is_enough():
                    seed = f"{order['seed']}-{number}-{turn}"
                    steps = request(random.Random(seed), order["tenants"])
                    report.compare(seed, steps, pooled.play(steps), alone.play(steps))
                    turn += 1
            finally:
                pooled.wrapper.close()
                alone.wrapper.close()

    with ThreadPoolExecutor(THREADS) as executor:
        list(executor.map(work, range(THREADS)))
    return {
        "requests": report.requests,
        "answers": report.answers,
        "hooks": report.hooks,
        "differences": report.differences,
        "foreign": report.foreign,
        "shown": report.shown,
        "pools": project.pools_made(),
        "leases": project.leases_out(),
    }


if __name__ == "__main__":
    print(json.dumps(main(), default=str))
