"""Health checks of pools."""

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
    """The result of one check."""

    healthy: bool
    connections_available: int
    """Idle connections, and those that may still be opened."""
    connections_in_use: int
    overflow_in_use: int
    last_check: datetime
    error_message: str | None = None


class PoolHealthMonitor:
    """Checks a pool by taking a connection and pinging the server on it.

    Args:
        pool: the pool, or the alias of a database.
        timeout: seconds that a whole check may take.
        wall_clock: returns the current time, for ``last_check``.

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
        """Check now and return whether the pool works; never raises."""
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
            raise TypeError(f"expected an alias or a pool, not {type(found).__name__}")
        return found
