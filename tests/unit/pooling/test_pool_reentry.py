"""Code that uses the pool in the midst of the pool's own: finalizers, log handlers, hooks.

The garbage collector may run a finalizer between any two instructions, so here one runs at
each line in turn.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from django_poolrouter import pooling
from django_poolrouter.pooling import Pool, PoolTimeout
from tests.support.doubles import ConnectFailed, FakeConnector, ManualClock, Task
from tests.unit.pooling.conftest import MakePool, assert_nothing_lost, use_once

FOLDER = str(Path(pooling.__file__).parent)


class Interruption:
    """Does something at the n-th line of the pool's code that runs in its block."""

    def __init__(self, line: int, act: Callable[[], object]) -> None:
        self.left = line
        self.act = act

    def __enter__(self) -> Interruption:
        self.before = sys.gettrace()
        sys.settrace(self.trace)
        return self

    def __exit__(self, *error: object) -> None:
        sys.settrace(self.before)

    def trace(self, frame: FrameType, event: str, arg: object) -> Any:
        path = frame.f_code.co_filename
        # Descriptors have a finalizer, which may run while the interpreter calls this method.  To
        # change the trace function there crashes Python 3.11.
        if not path.startswith(FOLDER) or path.endswith("descriptors.py"):
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                sys.settrace(None)
                self.act()
        return self.trace


def cycle(pool: Pool) -> None:
    with suppress(PoolTimeout):
        pool.checkin(pool.checkout(timeout=0))


def clear(pool: Pool) -> None:
    pool.clear()
    cycle(pool)


@pytest.mark.parametrize("interrupted", [cycle, clear, Pool.upkeep, Pool.close])
@pytest.mark.parametrize("finalizer", ["give_up", "checkin", "checkin broken", "status"])
@pytest.mark.parametrize("size", [1, 2])
def test_finalizer_at_any_line__loses_nothing_and_waits_for_nobody(
    make_pool: MakePool, interrupted: Callable[[Pool], None], finalizer: str, size: int
) -> None:
    def at(line: int) -> bool:
        pool = make_pool(pool_size=size, max_overflow=1, ping_after=0.0, min_idle=1)
        lease = pool.checkout()
        use_once(pool)
        acts: dict[str, Callable[[], object]] = {
            "give_up": lambda: pool.give_up(lease),
            "checkin": lambda: pool.checkin(lease),
            "checkin broken": lambda: pool.checkin(lease, broken=True),
            "status": lambda: repr(pool),
        }
        with Interruption(line, acts[finalizer]) as interruption:
            interrupted(pool)
        if interruption.left > 0 or finalizer == "status":
            pool.checkin(lease)
        pool._collect()
        if interrupted is not Pool.close:
            assert_nothing_lost(pool)
        return interruption.left <= 0

    def all_lines() -> int:
        line = 1
        while at(line):
            line += 1
        return line

    assert Task(all_lines).result() > 10


class UsesThePool(logging.Handler):
    """As a handler that writes its records to the database does."""

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self.pool = pool
        self.records: list[str] = []
        self.busy = False

    def emit(self, record: logging.LogRecord) -> None:
        if self.busy:
            return
        self.busy = True
        repr(self.pool)
        with suppress(PoolTimeout, ConnectFailed):
            self.pool.checkin(self.pool.checkout(timeout=0))
        self.records.append(record.getMessage())
        self.busy = False


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("django_poolrouter.pool")
    before, handlers = logger.level, list(logger.handlers)
    logger.setLevel(logging.DEBUG)
    yield logger
    logger.setLevel(before)
    logger.handlers = handlers


def test_log_handler__may_use_the_pool_that_logs(
    make_pool: MakePool, connector: FakeConnector, clock: ManualClock, logger: logging.Logger
) -> None:
    pool = make_pool(pool_size=3, min_idle=2, leak_after=5.0)
    handler = UsesThePool(pool)
    logger.addHandler(handler)

    def fails(*_: Any) -> None:
        raise ConnectFailed

    def make_all_kinds() -> None:
        leaked = pool.checkout()
        lease = pool.checkout()
        connector.on_reset, connector.on_close = fails, fails
        pool.checkin(lease)
        connector.on_reset = lambda _: None
        clock.advance(10)
        connector.on_open = fails
        pool.upkeep()
        connector.on_open = lambda: None
        pool.checkin(leaked)

    Task(make_all_kinds).result()
    said = "\n".join(handler.records)
    for part in ("reset failed", "closing a connection failed", "ahead of demand", "leak_after"):
        assert part in said
    assert_nothing_lost(pool)


def test_hooks_of_the_driver__may_use_the_pool(
    make_pool: MakePool, connector: FakeConnector, clock: ManualClock
) -> None:
    """As receivers of connection_created may, and custom resets."""
    pool = make_pool(pool_size=2, ping_after=0.0)
    depth = 0

    def use(*_: Any) -> None:
        nonlocal depth
        if depth == 0:
            depth += 1
            repr(pool)
            with suppress(PoolTimeout):
                pool.checkin(pool.checkout(timeout=0))
            depth -= 1

    connector.on_open = connector.on_close = connector.on_ping = connector.on_reset = use

    def use_all_hooks() -> None:
        use_once(pool)
        pool.checkin(pool.checkout(), broken=True)
        clock.advance(5)
        use_once(pool)
        pool.clear()

    Task(use_all_hooks).result()
    assert_nothing_lost(pool)
