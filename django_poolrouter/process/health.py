"""Tells whether a pool is able to work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from ..pooling import PoolStatus
from .database_pool import DatabasePool, describe
from .mappings import pools

UTC_NOW = partial(datetime.now, UTC)


@dataclass(frozen=True, slots=True)
class PoolHealth:
    """The outcome of one check."""

    healthy: bool
    connections_available: int
    """Idle connections, and those that may still be opened."""
    connections_in_use: int
    overflow_in_use: int
    last_check: datetime
    error_message: str | None = None


class PoolHealthMonitor:
    """Checks a pool by borrowing a connection and asking the server for a sign of life.

    Args:
        pool: the pool, or the alias of a database.
        timeout: seconds that a check may take, all in all.
        wall_clock: tells the time of a check.

    """

    def __init__(
        self,
        pool: DatabasePool | str,
        timeout: float = 2.0,
        wall_clock: Callable[[], datetime] = UTC_NOW,
    ) -> None:
        self._wanted = pool
        self._timeout = timeout
        self._wall_clock = wall_clock

    def __repr__(self) -> str:
        return f"<PoolHealthMonitor of {self._wanted!r}>"

    def is_healthy(self) -> bool:
        """Return whether a check finds the pool able to work; never raises."""
        return self.check_health().healthy

    def check_health(self) -> PoolHealth:
        """Check now; never raises, and takes no longer than the timeout."""
        pool: DatabasePool | None = None
        error: str | None = None
        try:
            pool = self._pool()
            pool.answer_within(self._timeout, pool.ping)
        except Exception as failure:
            error = describe(failure, pool)
        status = pool.status() if pool else PoolStatus.unopened()
        return PoolHealth(
            healthy=error is None,
            connections_available=max(0, status.max - status.checkedout),
            connections_in_use=status.checkedout,
            overflow_in_use=status.overflow,
            last_check=self._wall_clock(),
            error_message=error,
        )

    def _pool(self) -> DatabasePool:
        found = pools[self._wanted] if isinstance(self._wanted, str) else self._wanted
        if not isinstance(found, DatabasePool):
            raise TypeError(f"{type(found).__name__} is neither alias nor pool")
        return found
