"""One checkout and checkin in one thread, with all bookkeeping and a page that others can read."""

from __future__ import annotations

import mmap
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import psycopg_pool
import sqlalchemy.pool

from benchmarks.rounds import compare, nanoseconds, ratio, verdict
from django_poolrouter.pooling import Page, Pool, PoolConfig
from django_poolrouter.pooling.counters import words_needed

TIMES = 2_000
ROUNDS = 250  # short ones: within some 40 ms the machine seldom changes its speed


class Connector:
    """A door to no driver."""

    def open(self) -> Any:
        return Connection()

    def close(self, connection: Any) -> None: ...
    def reset(self, connection: Any) -> None: ...
    def abandon(self, connection: Any) -> None: ...

    def ping(self, connection: Any, timeout: float) -> bool:
        return True

    def fileno(self, connection: Any) -> int | None:
        return None

    def backend_id(self, connection: Any) -> int:
        return 0


class Connection:
    """What all three pools take for a healthy idle connection."""

    closed = broken = False

    class pgconn:  # noqa: N801 (as psycopg has it)
        transaction_status = 0

    class info:  # noqa: N801
        pass

    def close(self) -> None: ...
    def rollback(self) -> None: ...

    @classmethod
    def connect(cls, *args: Any, **kwargs: Any) -> Connection:
        return cls()


def ours() -> Callable[[], None]:
    config = PoolConfig.for_profile("production")
    shared = mmap.mmap(-1, 8 * words_needed(config.max))
    pool = Pool("bench", config, Connector(), Page(memoryview(shared).cast("q")))

    def cycle() -> None:
        pool.checkin(pool.checkout())

    return cycle


def psycopgs() -> tuple[Callable[[], None], Callable[[], None]]:
    pool = psycopg_pool.ConnectionPool(
        "", connection_class=Connection, min_size=1, max_size=30, open=True
    )
    pool.wait()

    def cycle() -> None:
        pool.putconn(pool.getconn())

    return cycle, pool.close


def sqlalchemys() -> Callable[[], None]:
    pool = sqlalchemy.pool.QueuePool(Connection, pool_size=10, max_overflow=20)

    def cycle() -> None:
        pool.connect().close()

    return cycle


def lines() -> Iterator[str]:
    psycopg, close = psycopgs()
    cycles = {"ours": ours(), "psycopg_pool": psycopg, "QueuePool": sqlalchemys()}
    for cycle in cycles.values():
        nanoseconds(cycle, TIMES)  # warm up
    found = compare({n: lambda c=c: nanoseconds(c, TIMES) for n, c in cycles.items()}, ROUNDS)
    close()
    for name, values in found.items():
        yield f"      {name}: {statistics.median(values):.0f} ns"
    yield verdict("of psycopg_pool's time", ratio(found["ours"], found["psycopg_pool"]), 1 / 3)
    yield verdict("of QueuePool's time", ratio(found["ours"], found["QueuePool"]), 1 / 5)


if __name__ == "__main__":
    print(*lines(), sep="\n")
