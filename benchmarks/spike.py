"""50 callers arrive at 5 idle connections; each holds one for 2 ms, a connect takes 150 ms."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.pool_alone import Connector
from benchmarks.rounds import verdict
from django_poolrouter.pooling import Pool, PoolConfig

ROUNDS = 5


class SlowConnector(Connector):
    """Opens slowly, once it is told to."""

    delay = 0.0

    def open(self) -> Any:
        time.sleep(self.delay)
        return super().open()


def spike() -> tuple[float, int]:
    """Return the median wait in milliseconds and how many connections were opened."""
    connector = SlowConnector()
    config = PoolConfig(
        pool_size=5, max_overflow=50, pool_timeout=10, pool_recycle=None, pool_pre_ping=True
    )
    pool = Pool("spike", config, connector)
    for lease in [pool.checkout() for _ in range(5)]:
        pool.checkin(lease)
    connector.delay = 0.15
    start = threading.Barrier(50)
    waits: list[float] = []

    def call() -> None:
        start.wait()
        began = time.perf_counter()
        lease = pool.checkout()
        waits.append(time.perf_counter() - began)
        time.sleep(0.002)
        pool.checkin(lease)

    callers = [threading.Thread(target=call) for _ in range(50)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    return statistics.median(waits) * 1e3, pool.status().connects - 5


def lines() -> Iterator[str]:
    found = [spike() for _ in range(ROUNDS)]
    yield verdict("p50 wait in ms", statistics.median(wait for wait, _ in found), 20)
    yield verdict("new connections", max(opened for _, opened in found), 8)


if __name__ == "__main__":
    print(*lines(), sep="\n")
