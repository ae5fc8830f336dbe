"""How the servers of clusters are asked: through the pools, with a time limit."""

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

# Seconds that a server has for an answer, and a question for a connection to ask by.
ANSWER = 1.0
CHECKOUT = 0.1
# A failure that took so many seconds is one of a server that hangs.
HANGS = 1.0


class PooledServers:
    """Asks over the pools of this process, or over the connection that the thread has."""

    @contextmanager
    def log_of(self, alias: str) -> Iterator[PooledLog]:
        """Lend the log of a server; see ``routing.servers``."""
        wrapper: Any = connections[alias]
        driver = wrapper.driver_class()
        if wrapper.connection is not None and wrapper.get_autocommit():
            # Another one would wait for the pool, perhaps for this one.
            try:
                yield PooledLog(driver, wrapper.connection)
            except ServerFailed:
                # In the midst of an answer, or dead: nothing for the thread's next statement.
                wrapper.close()
                raise
            return
        pool = wrapper.database_pool or DatabasePool(alias, wrapper.vendor)
        lent = pool.connection(CHECKOUT)
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
    """The replication log of the server that a raw connection leads to."""

    def __init__(self, driver: Driver, raw: Any) -> None:
        self._driver = driver
        self._raw = raw

    def written(self) -> Position | None:
        """Return where it ends; see ``routing.servers``."""
        return self._answer(self._driver.written)

    def replayed(self) -> Position | None:
        """Return up to where it is replayed; see ``routing.servers``."""
        return self._answer(self._driver.replayed)

    def _answer(self, question: Callable[[Any, float], Position | None]) -> Position | None:
        began = time.monotonic()
        try:
            return question(self._raw, ANSWER)
        except Exception as error:
            raise ServerFailed(in_one_line(error), hangs=_took_long(began)) from error


def _took_long(began: float) -> bool:
    return time.monotonic() - began >= HANGS
