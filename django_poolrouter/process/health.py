"""Is a pool able to work? An answer within a time limit, whatever the database does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from ..errors import PoolTimeout, in_one_line
from ..pooling import PoolStatus
from .database_pool import DatabasePool
from .mappings import pools

T = TypeVar("T")


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
            ask(pool, pool.ping, self._timeout)
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
        found = pools[self._wanted] if isinstance(self._wanted, str) else self._wanted
        if not isinstance(found, DatabasePool):
            raise TypeError(f"{type(found).__name__} is neither alias nor pool")
        return found


def ask(pool: DatabasePool, question: Callable[[float], T], timeout: float) -> T:
    """Return the answer to a question about a pool, which is put from a thread of its own.

    A connect cannot be interrupted, so that thread may outlast the call; one at a time for
    each pool, so that a database that hangs piles up neither threads nor connections.

    Args:
        pool: whose server is asked.
        question: called with the seconds that it may take, and must come to an end by itself.
        timeout: seconds that all may take.

    Raises:
        PoolTimeout: there was no answer in time.
        Exception: what the question raised.

    """
    end = time.monotonic() + timeout
    late = PoolTimeout(f"no answer within {timeout:g} s")
    if not pool.asking.acquire(timeout=timeout):
        raise late
    answer: Future[T] = Future()

    def run() -> None:
        try:
            # A little less, so that the pool's own words come before our time is up.
            result = question(timeout * 0.9)
        except BaseException as error:
            pool.asking.release()
            answer.set_exception(error)
        else:
            pool.asking.release()
            answer.set_result(result)

    try:
        threading.Thread(target=run, name=f"poolrouter-asks-{pool.alias}", daemon=True).start()
    except BaseException:
        pool.asking.release()
        raise
    try:
        return answer.result(end - time.monotonic())
    except TimeoutError as error:
        raise late from error


def describe(error: BaseException, pool: DatabasePool | None) -> str:
    """Return what went wrong in one line, without the password of the database."""
    text = in_one_line(error)
    if isinstance(error, KeyError) and error.args:
        text = str(error.args[0])
    settings = pool.connector.settings if pool and pool.connector else {}
    options = settings.get("OPTIONS", {})
    for password in (settings.get("PASSWORD"), options.get("password"), options.get("passwd")):
        if isinstance(password, str) and len(password) > 2:
            text = text.replace(password, "********")
    return text
