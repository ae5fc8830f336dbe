"""Clearing and closing a pool, and leaving it in a forked child."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from django_poolrouter.pooling import Page, PoolClosed
from django_poolrouter.pooling import counters as words
from tests.support.doubles import FakeConnector, Gate, ManualClock, Task
from tests.support.insides import state_of
from tests.unit.pooling.conftest import (
    MakePool,
    assert_at_rest,
    assert_nothing_lost,
    queued,
    use_once,
)

# -- clear --------------------------------------------------------------------------------------


def test_clear__closes_idle_ones_now_and_leased_ones_at_checkin(
    make_pool: MakePool, connector: FakeConnector
) -> None:
    pool = make_pool(pool_size=3)
    leased = pool.checkout()
    use_once(pool, 2)
    pool.clear()
    assert connector.live == [leased.connection]
    pool.checkin(leased)
    assert connector.live == []
    assert pool.status().cleared == 3
    assert_nothing_lost(pool)


def test_clear__leaves_newer_connections_alone(
    make_pool: MakePool, connector: FakeConnector
) -> None:
    pool = make_pool()
    leased = pool.checkout()
    pool.clear()
    use_once(pool)
    pool.checkin(leased)
    use_once(pool)
    assert connector.live == [connector.opened[1]]


def test_clear__lets_waiters_open(make_pool: MakePool, connector: FakeConnector) -> None:
    pool = make_pool(pool_size=1)
    leased = pool.checkout()
    waiter = queued(pool, pool.checkout)
    pool.clear()
    assert pool.status().waiting == 1
    pool.checkin(leased)
    lease = waiter.result()
    assert lease.connection is connector.opened[1]
    pool.checkin(lease)


def test_clear__counts_for_connections_that_are_being_opened(
    make_pool: MakePool, connector: FakeConnector
) -> None:
    pool = make_pool()
    connector.on_open = gate = Gate()
    opener = Task(pool.checkout)
    gate.wait_for()
    pool.clear()
    gate.open()
    pool.checkin(opener.result())
    assert connector.live == [], "opened before the clear, perhaps on the old server"


# -- close -----------------------------------------------------------------------------------------


def test_close__closes_idle_ones_now_and_leased_ones_at_checkin(
    make_pool: MakePool, connector: FakeConnector
) -> None:
    pool = make_pool(pool_size=3)
    leased = pool.checkout()
    use_once(pool, 2)
    pool.close()
    assert connector.live == [leased.connection]
    assert not pool.is_empty
    pool.checkin(leased)
    assert connector.live == []
    assert pool.is_empty


def test_close__wakes_every_waiter_at_once(make_pool: MakePool) -> None:
    pool = make_pool(pool_size=1)
    lease = pool.checkout()
    waiters = [queued(pool, pool.checkout) for _ in range(3)]
    pool.close()
    for waiter in waiters:
        with pytest.raises(PoolClosed, match="pool 'shop' is closed"):
            waiter.result()
    assert pool.status().timeouts == 0
    pool.checkin(lease)


def test_closed_pool__lends_and_opens_nothing(
    make_pool: MakePool, connector: FakeConnector
) -> None:
    pool = make_pool()
    use_once(pool)
    pool.close()
    for _ in range(2):
        with pytest.raises(PoolClosed):
            pool.checkout()
    assert len(connector.opened) == 1


def test_close__twice_is_harmless(make_pool: MakePool) -> None:
    pool = make_pool()
    lease = pool.checkout()
    use_once(pool)
    pool.close()
    pool.close()
    pool.checkin(lease)
    pool.close()
    assert_at_rest(pool)


def test_close__while_a_connection_is_opened(make_pool: MakePool, connector: FakeConnector) -> None:
    pool = make_pool(pool_size=1)
    connector.on_open = gate = Gate()
    opener = Task(pool.checkout)
    gate.wait_for()
    waiter = queued(pool, pool.checkout)
    pool.close()
    assert isinstance(waiter.error(), PoolClosed)
    gate.open()
    with pytest.raises(PoolClosed, match="closed while a connection was opened"):
        opener.result()
    assert connector.live == []
    assert pool.is_empty


def test_close__while_an_opening_fails(make_pool: MakePool, connector: FakeConnector) -> None:
    pool = make_pool(pool_size=1)
    connector.fail_next()
    connector.on_open = gate = Gate()
    opener = Task(pool.checkout)
    gate.wait_for()
    pool.close()
    gate.open()
    assert opener.error() is not None
    assert pool.is_empty


@pytest.mark.parametrize("alive", [True, False])
def test_close__while_a_connection_is_tested(
    make_pool: MakePool, connector: FakeConnector, clock: ManualClock, alive: bool
) -> None:
    pool = make_pool()
    use_once(pool)
    connector.opened[0].alive = alive
    clock.advance(5)
    connector.on_ping = gate = Gate()
    task = Task(pool.checkout)
    gate.wait_for()
    pool.close()
    gate.open()
    if alive:
        pool.checkin(task.result())
    else:
        assert isinstance(task.error(), PoolClosed)
    assert len(connector.opened) == 1
    assert connector.live == []


class MeddlingPage(Page):
    """Calls a function when an entry is written down as idle, in the midst of a checkin."""

    meddle: Callable[[], object] | None = None

    def take_cell(self) -> tuple[int, Any]:
        number, cell = super().take_cell()
        return number, MeddlingCell(self, cell)


class MeddlingCell:
    def __init__(self, page: MeddlingPage, cell: Any) -> None:
        self.page = page
        self.cell = cell

    def __getitem__(self, index: int) -> int:
        return int(self.cell[index])

    def __setitem__(self, index: int, value: int) -> None:
        self.cell[index] = value
        meddle = self.page.meddle
        if index == words.SINCE and value < 0 and meddle:
            self.page.meddle = None
            meddle()


@pytest.mark.parametrize("path", ["idle", "overflow"])
@pytest.mark.parametrize("what", ["clear", "close"])
def test_checkin_in_the_midst_of_clear_or_close__leaves_nothing_open(
    make_pool: MakePool, connector: FakeConnector, path: str, what: str
) -> None:
    page = MeddlingPage.private(2)
    pool = make_pool(pool_size=1, max_overflow=1, arguments={"page": page})
    leases = [pool.checkout()]
    if path == "overflow":
        leases.append(pool.checkout())

    def meddle() -> None:
        if path == "overflow":  # so that the one under way is no overflow any more
            pool.checkin(leases.pop())
        getattr(pool, what)()

    page.meddle = meddle
    pool.checkin(leases.pop(0))
    assert connector.live == []
    assert_at_rest(pool)


class MeddlingDeque(deque[Any]):
    """Calls a function just before an entry becomes idle."""

    meddle: Callable[[], object] | None = None

    def append(self, entry: Any) -> None:
        meddle, self.meddle = self.meddle, None
        if meddle:
            meddle()
        super().append(entry)


@pytest.mark.parametrize("where", ["before", "after"])
def test_waiter_that_came_in_the_midst_of_a_checkin__is_served(
    make_pool: MakePool, where: str
) -> None:
    """Before, or after, the checkin has looked whether somebody waits."""
    page = MeddlingPage.private(1)
    pool = make_pool(pool_size=1, arguments={"page": page})
    pool._idle = state_of(pool).idle = idle = MeddlingDeque()
    lease = pool.checkout()
    came: list[Task] = []
    meddler: Any = page if where == "before" else idle
    meddler.meddle = lambda: came.append(queued(pool, pool.checkout))
    pool.checkin(lease)
    pool.checkin(came[0].result())


# -- finalizers ------------------------------------------------------------------------------


class CollectingPage(Page):
    """Runs finalizers where the garbage collector might: in the middle of the books."""

    __slots__ = ("finalize",)

    finalize: Callable[[], object] | None

    def take_cell(self) -> tuple[int, Any]:
        finalize, self.finalize = self.finalize, None
        if finalize:
            finalize()
        return super().take_cell()


@pytest.mark.parametrize("broken", [False, True])
def test_checkin_by_a_finalizer_in_the_middle_of_the_books__waits_for_no_lock(
    make_pool: MakePool, broken: bool
) -> None:
    """As of a generator that is suspended within a block that leased a connection."""
    page = CollectingPage.private(3)
    page.finalize = None
    pool = make_pool(pool_size=1, max_overflow=2, arguments={"page": page})
    lease, other = pool.checkout(), pool.checkout()
    page.finalize = lambda: pool.checkin(lease, broken=broken)
    third = Task(pool.checkout).result()
    assert lease.connection is None
    for each in (other, third):
        pool.checkin(each)
    pool.upkeep()
    assert_at_rest(pool)


# -- fork ---------------------------------------------------------------------------------------


def test_abandon__takes_no_lock_and_sends_nothing(
    make_pool: MakePool, connector: FakeConnector
) -> None:
    pool = make_pool(pool_size=3)
    leased = pool.checkout()
    use_once(pool, 2)
    with state_of(pool).lock:  # as by a thread that does not exist in the child
        Task(pool.abandon).result()
    assert sorted(c.number for c in connector.abandoned) == [0, 1, 2]
    assert len(connector.live) == 3
    pool.checkin(leased)


def test_checkin_after_abandon__hangs_on_no_lock_of_the_parent(make_pool: MakePool) -> None:
    pool = make_pool(pool_size=1)
    lease = pool.checkout()
    lock = state_of(pool).lock
    with lock:
        Task(pool.abandon).result()
        # The child leaves a block of the parent's that held a connection.
        Task(lambda: pool.checkin(lease, broken=True)).result()
