"""Is a pool able to work? An answer within a time limit, whatever the database does."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC, datetime

from .database_pool import DatabasePool
from .pooling import PoolStatus
from .registry import pools


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

    """

    def __init__(self, pool: DatabasePool | str, timeout: float = 2.0) -> None:
        self._wanted = pool
        self._timeout = timeout
        self._lock = threading.Lock()  # guards _probe
        self._probe: _Probe | None = None

    def __repr__(self) -> str:
        return f"<PoolHealthMonitor of {self._wanted!r}>"

    def is_healthy(self) -> bool:
        """Return whether a check finds the pool able to work; never raises."""
        return self.check_health().healthy

    def check_health(self) -> PoolHealth:
        """Check now; never raises, and takes no longer than the timeout."""
        pool: DatabasePool | None = None
        try:
            pool = self._pool()
            error = self._ask(pool)
        except Exception as failure:
            error = describe(failure, pool)
        status = pool.status() if pool else PoolStatus.unopened()
        return PoolHealth(
            healthy=error is None,
            connections_available=max(0, status.max - status.checkedout),
            connections_in_use=status.checkedout,
            overflow_in_use=status.overflow,
            last_check=datetime.now(UTC),
            error_message=error,
        )

    def _pool(self) -> DatabasePool:
        return pools[self._wanted] if isinstance(self._wanted, str) else self._wanted

    def _ask(self, pool: DatabasePool) -> str | None:
        """Ask from a thread of its own: a connect cannot be interrupted."""
        with self._lock:
            # One at a time: checks of a hanging database must not pile up threads.
            if self._probe is None or self._probe.done.is_set():
                # A little less, so that the pool's own words come before our time is up.
                self._probe = _Probe(pool, self._timeout * 0.9)
                self._probe.start()
            probe = self._probe
        if not probe.done.wait(self._timeout):
            return f"no answer within {self._timeout:g} s"
        return probe.error


class _Probe(threading.Thread):
    def __init__(self, pool: DatabasePool, timeout: float) -> None:
        super().__init__(name=f"poolrouter-health-{pool.alias}", daemon=True)
        self.done = threading.Event()
        self.error: str | None = None
        self._pool = pool
        self._timeout = timeout

    def run(self) -> None:
        try:
            self._pool.ping(self._timeout)
        except Exception as failure:
            self.error = describe(failure, self._pool)
        finally:
            self.done.set()


def describe(error: BaseException, pool: DatabasePool | None) -> str:
    """Return what went wrong in one line, without the password of the database."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, KeyError) and error.args:
        text = str(error.args[0])
    settings = pool.connector.settings if pool and pool.connector else {}
    password = settings.get("PASSWORD")
    if isinstance(password, str) and len(password) > 2:
        text = text.replace(password, "********")
    return text
