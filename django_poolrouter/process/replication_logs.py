"""Asks the servers of clusters for positions, through the pools and with a time limit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.db import Error, connections

from ..errors import PoolError, ReplicaUnavailable, in_one_line
from ..routing import NotAsked, Position, ServerFailed
from .database_pool import DatabasePool

if TYPE_CHECKING:
    from ..drivers.driver import Driver

# Time limits in seconds: of the server for an answer, and of the pool for a connection.
ANSWER = 1.0
CHECKOUT = 0.1
# A failure that took at least this many seconds means that the server hangs.
HANGS = 1.0


class PooledServers:
    """Asks through the pools of this process, or on the connection that the thread has."""

    @contextmanager
    def log_of(self, alias: str) -> Iterator[PooledLog]:
        """Lend the log of a server; see ``routing.servers``."""
        wrapper: Any = connections[alias]
        driver = wrapper.driver_class()
        if wrapper.connection is not None and wrapper.get_autocommit():
            # Another connection might have to wait for the pool, perhaps even for this one.
            try:
                yield PooledLog(driver, wrapper.connection)
            except ServerFailed:
                # It is in the middle of an answer, or dead: the next statement must not use it.
                wrapper.close()
                raise
            return
        pool = wrapper.database_pool or DatabasePool(alias, wrapper.vendor)
        lent = pool.lend(CHECKOUT)
        began = time.monotonic()
        try:
            raw = lent.__enter__()
        except ReplicaUnavailable as error:
            raise ServerFailed(str(error), hangs=True) from error
        except PoolError as error:
            raise NotAsked(str(error)) from error
        except Error as error:
            raise ServerFailed(in_one_line(error), hangs=_took_long(began)) from error
        try:
            yield PooledLog(driver, raw)
        finally:
            lent.__exit__(None, None, None)


class PooledLog:
    """The replication log of the server behind a raw connection."""

    def __init__(self, driver: Driver, raw: Any) -> None:
        self._driver = driver
        self._raw = raw

    def written(self) -> Position | None:
        """Return the position where the log ends; see ``routing.servers``."""
        return self._answer(self._driver.written)

    def replayed(self) -> Position | None:
        """Return the position up to which the log is replayed; see ``routing.servers``."""
        return self._answer(self._driver.replayed)

    def _answer(self, question: Callable[[Any, float], Position | None]) -> Position | None:
        began = time.monotonic()
        try:
            return question(self._raw, ANSWER)
        except Exception as error:
            raise ServerFailed(in_one_line(error), hangs=_took_long(began)) from error


def _took_long(began: float) -> bool:
    return time.monotonic() - began >= HANGS
