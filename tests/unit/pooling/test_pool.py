"""Who gets which connection and when: order, limits, waiting and figures."""

from __future__ import annotations

import re
import time

import pytest

from django_poolrouter.pooling import PoolError, PoolExhausted, PoolTimeout
from django_poolrouter.pooling.grants import MAX_OPENING
from django_poolrouter.pooling.histogram import bucket
from tests.support.doubles import ConnectFailed, FakeConnector, Gate, ManualClock, Task
from tests.support.insides import state_of
from tests.support.waiting import eventually
from tests.unit.pooling.conftest import MakePool, assert_nothing_lost, queued, use_once

# -- order ---------------------------------------------------------------------------------


def test_pool__opens_nothing_before_it_is_used(
    make_pool: MakePool, connector: FakeConnector
) -> None:
    pool = make_pool(min_idle=2)
    assert connector.opened == []
    assert pool.is_empty
    assert pool.status().open == 0


def test_checkout__lends_the_connection_used_last(make_pool: MakePool) -> None:
    pool = make_pool(pool_size=3)
    first, second, third = (pool.checkout() for _ in range(3))
    used_last = second.connection
    for lease in (first, third, second):
        pool.checkin(lease)
    lease = pool.checkout()
    assert lease.connection is used_last
    pool.checkin(lease)


def test_checkout__opens_no_more_than_are_needed_at_once(
    make_pool: MakePool, connector: FakeConnector
) -> None:
    pool = make_pool(pool_size=10)
    for _ in range(5):
        use_once(pool, 2)
    assert len(connector.opened) == 2


def test_checkin__twice_raises(make_pool: MakePool) -> None:
    pool = make_pool()
    lease = pool.checkout()
    pool.checkin(lease)
    with pytest.raises(PoolError, match="'shop' was checked in twice"):
        pool.checkin(lease)
    assert_nothing_lost(pool)


def test_checkin__of_another_pools_lease_raises_and_leaves_it_lent(make_pool: MakePool) -> None:
    pool, other = make_pool(), make_pool()
    lease = other.checkout()
    with pytest.raises(PoolError, match="'shop' was expected, not another pool's"):
        pool.checkin(lease)
    assert lease.connection is not None
    other.checkin(lease)
    assert_nothing_lost(pool)
    assert_nothing_lost(other)


def test_checkin__twice_does_not_touch_who_has_the_connection_now(
    make_pool: MakePool, connector: FakeConnector
) -> None:
    pool = make_pool()
    stale = pool.checkout()
    pool.checkin(stale)
    lease = pool.checkout()
    with pytest.raises(PoolError):
        pool.checkin(stale, broken=True)
    assert pool.status().checkedout == 1
    assert connector.live == [lease.connection]
    pool.checkin(lease)


def test_lease__knows_its_connection_until_checkin(make_pool: MakePool) -> None:
    pool = make_pool()
    lease = pool.checkout()
    assert "Lease of <Entry backend=0 uses=1" in repr(lease)
    pool.checkin(lease)
    assert lease.connection is None
    assert repr(lease) == "<Lease, checked in>"


# -- waiting --------------------------------------------------------------------------------


def test_checkout__waits_when_full(make_pool: MakePool) -> None:
    pool = make_pool(pool_size=1)
    lease = pool.checkout()
    connection = lease.connection
    waiter = queued(pool, pool.checkout)
    pool.checkin(lease)
    lease = waiter.result()
    assert lease.connection is connection
    pool.checkin(lease)


def test_waiters__are_served_in_order_of_arrival(make_pool: MakePool) -> None:
    pool = make_pool(pool_size=1)
    served: list[int] = []

    def work(number: int) -> None:
        lease = pool.checkout()
        served.append(number)
        pool.checkin(lease)

    lease = pool.checkout()
    tasks = [queued(pool, work, number) for number in range(8)]
    pool.checkin(lease)
    for task in tasks:
        task.result()
    assert served == list(range(8))


def test_newcomer__does_not_overtake_a_waiter(make_pool: MakePool) -> None:
    pool = make_pool(pool_size=1)
    lease = pool.checkout()
    waiter = queued(pool, pool.checkout)
    pool.checkin(lease)
    # Whether the waiter has woken up or not, the connection is its own by now.
    with pytest.raises(PoolTimeout):
        pool.checkout(timeout=0)
    pool.checkin(waiter.result())


def test_timeout__is_waited_for_in_full(make_pool: MakePool) -> None:
    pool = make_pool(pool_size=1, arguments={"clock": time.monotonic_ns})
    lease = pool.checkout()
    for seconds in (0.05, 0.3):
        began = time.monotonic()
        with pytest.raises(PoolTimeout, match=f"within {seconds} s"):
            pool.checkout(timeout=seconds)
        assert time.monotonic() - began >= seconds
    pool.checkin(lease)
    assert_nothing_lost(pool)


def test_time_waited__is_that_of_timeouts_too(make_pool: MakePool) -> None:
    """As their lengths are counted: a mean of the two is one of the same callers."""
    pool = make_pool(pool_size=1, arguments={"clock": time.monotonic_ns})
    lease = pool.checkout()
    with pytest.raises(PoolTimeout):
        pool.checkout(timeout=0.05)
    assert pool.status().waited >= 0.05
    pool.checkin(lease)


def test_waits__count_only_callers_who_got_what_they_waited_for(
    make_pool: MakePool, clock: ManualClock
) -> None:
    pool = make_pool(pool_size=1)
    lease = pool.checkout()
    with pytest.raises(PoolTimeout):
        pool.checkout(timeout=0)
    waiter = queued(pool, pool.checkout)
    clock.advance(2.0)
    pool.checkin(lease)
    pool.checkin(waiter.result())
    status = pool.status()
    assert (status.waits, status.waited, status.timeouts) == (1, 2.0, 1)


def test_timeout__is_the_pools_own_by_default(make_pool: MakePool) -> None:
    pool = make_pool(pool_size=1, pool_timeout=0.0)
    lease = pool.checkout()
    with pytest.raises(PoolTimeout, match="within 0 s"):
        pool.checkout()
    pool.checkin(lease)


@pytest.mark.parametrize("timeout", [0, -1, -0.5])
def test_timeout__of_nothing_or_less_does_not_wait(make_pool: MakePool, timeout: float) -> None:
    pool = make_pool(pool_size=1)
    lease = pool.checkout()
    assert isinstance(Task(pool.checkout, timeout).error(), PoolTimeout)
    pool.checkin(lease)
    assert_nothing_lost(pool)


def test_timeout__says_the_figures(make_pool: MakePool, clock: ManualClock) -> None:
    pool = make_pool(pool_size=1, max_overflow=1, profile="web")
    leases = [pool.checkout(), pool.checkout()]
    waiter = queued(pool, pool.checkout)
    clock.advance(4)
    with pytest.raises(PoolTimeout) as caught:
        pool.checkout(timeout=0)
    assert str(caught.value) == (
        "pool 'shop' (profile 'web'): no connection within 0 s (waited 0.0 s); "
        "size 1 + overflow 1, 2 in use (longest 4.0 s), 0 idle, 0 opening, 1 others waiting"
    )
    assert caught.value.__cause__ is None
    for lease in leases:
        pool.checkin(lease)
    pool.checkin(waiter.result())
    assert pool.status().timeouts == 1


def test_timeout__chains_the_last_connect_error(
    make_pool: MakePool, connector: FakeConnector
) -> None:
    pool = make_pool(pool_size=2)
    lease = pool.checkout()
    connector.fail_next()
    with pytest.raises(ConnectFailed) as failed:
        pool.checkout()
    connector.on_open = gate = Gate()
    opener = Task(pool.checkout)
    gate.wait_for()
    with pytest.raises(PoolTimeout, match=r"1 in use .* 1 opening") as caught:
        pool.checkout(timeout=0)
    assert caught.value.__cause__ is failed.value
    gate.open()
    pool.checkin(lease)
    pool.checkin(opener.result())
    leases = [pool.checkout(), pool.checkout()]
    with pytest.raises(PoolTimeout) as caught:
        pool.checkout(timeout=0)
    assert caught.value.__cause__ is None, "a connect has succeeded since"
    for lease in leases:
        pool.checkin(lease)


def test_waiter_that_gave_up__is_not_handed_a_connection(make_pool: MakePool) -> None:
    pool = make_pool(pool_size=1)
    lease = pool.checkout()
    with pytest.raises(PoolTimeout):
        pool.checkout(timeout=0)
    pool.checkin(lease)
    assert_nothing_lost(pool)


def test_max_waiting__refuses_at_once_who_would_have_to_wait(make_pool: MakePool) -> None:
    pool = make_pool(pool_size=1, max_waiting=2)
    lease = pool.checkout()
    waiters = [queued(pool, pool.checkout), queued(pool, pool.checkout)]
    words = "2 callers already wait, the most that max_waiting allows; size 1 + overflow 0, 1 in"
    with pytest.raises(PoolExhausted, match=re.escape(words)):
        pool.checkout()
    assert pool.status().refused == 1
    assert pool.status().waiting == 2
    pool.checkin(lease)
    for waiter in waiters:
        pool.checkin(waiter.result())
    assert_nothing_lost(pool)


def test_max_waiting__does_not_count_who_gave_up(make_pool: MakePool) -> None:
    pool = make_pool(pool_size=1, max_waiting=1)
    lease = pool.checkout()
    for _ in range(3):
        with pytest.raises(PoolTimeout):
            pool.checkout(timeout=0)
    waiter = queued(pool, pool.checkout)
    pool.checkin(lease)
    pool.checkin(waiter.result())


def test_max_waiting__does_not_refuse_who_may_open(make_pool: MakePool) -> None:
    pool = make_pool(pool_size=2, max_waiting=1)
    use_once(pool, 2)
    assert pool.status().refused == 0


# -- limits -----------------------------------------------------------------------------------


def test_overflow__is_closed_at_checkin_when_nobody_waits(
    make_pool: MakePool, connector: FakeConnector
) -> None:
    pool = make_pool(pool_size=1, max_overflow=2)
    leases = [pool.checkout() for _ in range(3)]
    assert pool.status().overflow == 2
    for lease, left in zip(leases, (2, 1, 1), strict=True):
        pool.checkin(lease)
        assert len(connector.live) == left
    assert pool.status().overflow == 0
    assert pool.status().closes == 2


def test_overflow__goes_to_a_waiter(make_pool: MakePool, connector: FakeConnector) -> None:
    pool = make_pool(pool_size=1, max_overflow=1)
    leases = [pool.checkout(), pool.checkout()]
    waiter = queued(pool, pool.checkout)
    pool.checkin(leases[1])
    leases[1] = waiter.result()
    assert len(connector.opened) == 2
    assert pool.status().closes == 0
    for lease in leases:
        pool.checkin(lease)


def test_max__counts_connections_that_are_being_opened(
    make_pool: MakePool, connector: FakeConnector
) -> None:
    pool = make_pool(pool_size=2, max_overflow=1)
    connector.on_open = gate = Gate()
    tasks = [Task(pool.checkout) for _ in range(3)]
    gate.wait_for(3)
    assert pool.status().opening == 3
    with pytest.raises(PoolTimeout, match=r"0 in use .* 0 idle, 3 opening"):
        pool.checkout(timeout=0)
    gate.open()
    for task in tasks:
        pool.checkin(task.result())
    assert connector.most_live == 3


@pytest.mark.parametrize("what", ["broken", "expired", "surplus", "cleared"])
def test_max__counts_connections_that_are_being_closed(
    make_pool: MakePool, connector: FakeConnector, clock: ManualClock, what: str
) -> None:
    pool = make_pool(pool_size=1, max_overflow=what == "surplus", pool_recycle=60.0)
    leases = [pool.checkout() for _ in range(pool.config.max)]
    connector.on_close = gate = Gate()
    if what == "expired":
        clock.advance(60)
    elif what == "cleared":
        pool.clear()
    returner = Task(lambda: pool.checkin(leases.pop(), broken=what == "broken"))
    gate.wait_for()
    with pytest.raises(PoolTimeout):
        pool.checkout(timeout=0)
    waiter = queued(pool, pool.checkout)
    gate.open()
    returner.result()
    pool.checkin(waiter.result())
    for lease in leases:
        pool.checkin(lease)
    assert connector.most_live == pool.config.max


def test_spike__opens_few_connections_at_once(
    make_pool: MakePool, connector: FakeConnector
) -> None:
    pool = make_pool(pool_size=20)
    connector.on_open = gate = Gate()
    tasks = [Task(pool.checkout) for _ in range(20)]
    gate.wait_for(MAX_OPENING)
    eventually(lambda: pool.status().waiting == 20 - MAX_OPENING)
    assert connector.opening == pool.status().opening == MAX_OPENING
    gate.open()
    for lease in [task.result() for task in tasks]:
        pool.checkin(lease)
    assert connector.most_opening == MAX_OPENING
    assert len(connector.opened) == 20


def test_slow_connect__holds_up_nobody_else(make_pool: MakePool, connector: FakeConnector) -> None:
    pool = make_pool()
    lease = pool.checkout()
    connector.on_open = gate = Gate()
    opener = Task(pool.checkout)
    gate.wait_for()
    pool.checkin(lease)
    use_once(pool)
    assert pool.status().checkedin == 1
    gate.open()
    pool.checkin(opener.result())


def test_driver__is_never_called_with_the_lock_held(
    make_pool: MakePool, connector: FakeConnector
) -> None:
    pool = make_pool(pool_size=1, max_overflow=1, ping_after=0.0)

    def look(*_: object) -> None:
        assert state_of(pool).lock.acquire(blocking=False)
        state_of(pool).lock.release()

    connector.on_open = connector.on_close = connector.on_ping = connector.on_reset = look
    connector.on_fileno = look
    use_once(pool, 2)
    use_once(pool)
    pool.clear()
    pool.checkin(pool.checkout(), broken=True)
    assert connector.pinged
    assert len(connector.opened) == 3


# -- figures -------------------------------------------------------------------------------------


def test_status__adds_up(make_pool: MakePool, connector: FakeConnector, clock: ManualClock) -> None:
    pool = make_pool(pool_size=2, max_overflow=1, max_waiting=1)
    leases = [pool.checkout() for _ in range(3)]
    clock.advance(2)
    status = pool.status()
    assert (status.size, status.max, status.open) == (2, 3, 3)
    assert (status.checkedin, status.checkedout, status.overflow) == (0, 3, 1)
    assert status.oldest_use == 2.0
    waiter = queued(pool, pool.checkout)
    clock.advance(3)
    assert pool.status().oldest_wait == 3.0
    with pytest.raises(PoolExhausted):
        pool.checkout()
    pool.checkin(leases.pop())
    leases.append(waiter.result())
    with pytest.raises(PoolTimeout):
        pool.checkout(timeout=0)
    pool.checkin(leases.pop(), broken=True)
    connector.fail_next()
    with pytest.raises(ConnectFailed):
        pool.checkout()
    for lease in leases:
        pool.checkin(lease)
    status = pool.status()
    assert (status.checkouts, status.connects, status.connect_errors) == (4, 3, 1)
    assert (status.closes, status.lost, status.timeouts, status.refused) == (1, 1, 1, 1)
    assert status.waited == 3.0
    assert (status.waiting, status.oldest_wait, status.oldest_use) == (0, 0.0, 0.0)
    assert (status.open, status.checkedin) == (2, 2)


def test_checkouts__are_counted_beyond_the_life_of_connections(make_pool: MakePool) -> None:
    pool = make_pool()
    for _ in range(5):
        pool.checkin(pool.checkout(), broken=True)
        use_once(pool)
    assert pool.status().checkouts == 10


def test_repr__shows_the_state(make_pool: MakePool) -> None:
    pool = make_pool()
    lease = pool.checkout()
    assert repr(pool) == "<Pool 'shop' open=1 in_use=1 max=2 waiting=0>"
    pool.checkin(lease)
    pool.close()
    assert repr(pool) == "<Pool 'shop' open=0 in_use=0 max=2 waiting=0 closed>"


def test_waits__are_counted_by_their_length_and_timeouts_with_them(
    make_pool: MakePool, clock: ManualClock
) -> None:
    pool = make_pool(pool_size=1)
    lease = pool.checkout()
    task = queued(pool, pool.checkout)
    clock.advance(0.15)
    pool.checkin(lease)
    granted = task.result()
    with pytest.raises(PoolTimeout):
        pool.checkout(timeout=0)
    pool.checkin(granted)
    status = pool.status()
    assert (status.waits, status.timeouts, sum(status.wait_buckets)) == (1, 1, 2)
    assert status.wait_buckets[bucket(150_000_000)] == 1
    assert status.p95_wait == 0.2
    assert status.peak_open == 1
