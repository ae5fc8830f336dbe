"""Which connections are lent: tests before use, age, and what follows from a dead one."""

from __future__ import annotations

import pytest

from django_poolrouter.pooling import PoolTimeout
from django_poolrouter.pooling.grants import MAX_OPENING
from tests.support.doubles import FakeConnector, Gate, ManualClock, Task
from tests.unit.pooling.conftest import MakePool, assert_nothing_lost, queued, use_once

# -- the ping --------------------------------------------------------------------------------


def test_connection__is_pinged_after_a_rest(
    make_pool: MakePool, connector: FakeConnector, clock: ManualClock
) -> None:
    pool = make_pool(ping_after=1.0, ping_timeout=0.7)
    use_once(pool)
    clock.advance(0.999)
    use_once(pool)
    assert connector.pinged == []
    clock.advance(1.0)
    use_once(pool)
    assert connector.pinged == connector.opened
    assert connector.ping_timeouts == [0.7]
    use_once(pool)
    assert len(connector.pinged) == 1


def test_connection__is_pinged_each_time_if_so_configured(
    make_pool: MakePool, connector: FakeConnector
) -> None:
    pool = make_pool(ping_after=0.0)
    for _ in range(4):
        use_once(pool)
    assert len(connector.pinged) == 3, "what was just opened needs no ping"


def test_connection__is_not_pinged_without_pre_ping(
    make_pool: MakePool, connector: FakeConnector, clock: ManualClock
) -> None:
    pool = make_pool(pool_pre_ping=False, ping_after=0.0)
    for _ in range(4):
        use_once(pool)
        clock.advance(1e6)
    assert connector.pinged == []


def test_connection_opened_ahead_of_demand__is_pinged_after_a_rest(
    make_pool: MakePool, connector: FakeConnector, clock: ManualClock
) -> None:
    pool = make_pool(min_idle=1)
    pool.upkeep()
    clock.advance(30)
    connector.opened[0].alive = False
    lease = pool.checkout()
    assert connector.pinged == [connector.opened[0]]
    assert lease.connection is connector.opened[1]
    pool.checkin(lease)


def test_connection_opened_ahead_of_demand__is_recycled(
    make_pool: MakePool, connector: FakeConnector, clock: ManualClock
) -> None:
    pool = make_pool(min_idle=1, pool_recycle=60.0)
    pool.upkeep()
    clock.advance(60)
    lease = pool.checkout()
    assert lease.connection is connector.opened[1]
    pool.checkin(lease)


@pytest.fixture
def with_sockets(connector: FakeConnector) -> None:
    connector._with_sockets = True


@pytest.mark.usefixtures("with_sockets")
@pytest.mark.parametrize("pre_ping", [True, False])
def test_readable_socket__is_pinged_and_lent(
    make_pool: MakePool, connector: FakeConnector, pre_ping: bool
) -> None:
    pool = make_pool(pool_pre_ping=pre_ping)
    use_once(pool)
    use_once(pool)
    assert connector.pinged == []
    connector.opened[0].speak()
    lease = pool.checkout()
    assert connector.pinged == [lease.connection] == connector.opened
    pool.checkin(lease)


@pytest.mark.usefixtures("with_sockets")
@pytest.mark.parametrize("pre_ping", [True, False])
def test_socket_that_was_hung_up__is_replaced(
    make_pool: MakePool, connector: FakeConnector, pre_ping: bool
) -> None:
    pool = make_pool(pool_pre_ping=pre_ping)
    use_once(pool)
    connector.opened[0].hang_up()
    lease = pool.checkout()
    assert lease.connection is connector.opened[1]
    assert pool.status().lost == 1
    pool.checkin(lease)


# -- one dead connection is seldom alone ---------------------------------------------------------


def server_restarts(connector: FakeConnector) -> None:
    for connection in connector.live:
        connection.alive = False


def test_failed_ping__clears_all_older_connections(
    make_pool: MakePool, connector: FakeConnector, clock: ManualClock
) -> None:
    pool = make_pool(pool_size=5)
    leased = pool.checkout()
    use_once(pool, 4)
    server_restarts(connector)
    clock.advance(5)
    lease = pool.checkout()
    assert len(connector.pinged) == 1
    assert connector.live == [leased.connection, lease.connection]
    pool.checkin(lease)
    pool.checkin(leased)
    assert connector.live == [connector.opened[-1]]
    status = pool.status()
    assert (status.lost, status.cleared, status.connects) == (2, 3, 6)


def test_failed_ping__is_acted_upon_once_by_racing_finders(
    make_pool: MakePool, connector: FakeConnector, clock: ManualClock
) -> None:
    pool = make_pool(pool_size=3)
    use_once(pool, 3)
    server_restarts(connector)
    clock.advance(5)
    gates = {connection: Gate() for connection in connector.opened}
    connector.on_ping = lambda connection: gates[connection]()
    late = Task(pool.checkout)
    gates[connector.opened[2]].wait_for()
    early = Task(pool.checkout)
    gates[connector.opened[1]].wait_for()
    gates[connector.opened[1]].open()
    lease = early.result()
    assert connector.opened[0].closed, "which nobody has to find out any more"
    renewed = lease.connection
    pool.checkin(lease)
    gates[connector.opened[2]].open()
    lease = late.result()
    assert not renewed.closed, "cleared by a failure that is older than itself"
    assert len(connector.pinged) == 2
    pool.checkin(lease)
    assert_nothing_lost(pool)


def test_server_restart__is_no_stampede(
    make_pool: MakePool, connector: FakeConnector, clock: ManualClock
) -> None:
    pool = make_pool(pool_size=12)
    use_once(pool, 12)
    server_restarts(connector)
    clock.advance(5)
    connector.on_ping = pings = Gate()
    connector.on_open = opens = Gate()
    tasks = [Task(pool.checkout) for _ in range(12)]
    pings.wait_for(12)
    pings.open()
    opens.wait_for(MAX_OPENING)
    opens.open()
    leases = [task.result() for task in tasks]
    assert connector.most_opening == MAX_OPENING
    assert connector.most_live <= 12
    for lease in leases:
        pool.checkin(lease)


def test_faulty_connection__is_replaced_by_an_idle_one_before_one_is_opened(
    make_pool: MakePool, connector: FakeConnector, clock: ManualClock
) -> None:
    pool = make_pool(pool_size=2)
    use_once(pool, 2)
    connector.opened[1].alive = False
    clock.advance(5)
    # The other one came back while the ping of this one failed.
    other = Gate()
    connector.on_ping = lambda connection: other() if connection.number == 1 else None
    task = Task(pool.checkout)
    other.wait_for()
    pool.clear()
    use_once(pool)
    other.open()
    lease = task.result()
    assert len(connector.opened) == 3
    assert lease.connection is connector.opened[2]
    pool.checkin(lease)


def test_faulty_connection__costs_nobody_his_turn(
    make_pool: MakePool, connector: FakeConnector, clock: ManualClock
) -> None:
    pool = make_pool(pool_size=1)
    use_once(pool)
    connector.opened[0].alive = False
    clock.advance(5)
    connector.on_ping = gate = Gate()
    first = Task(pool.checkout)
    gate.wait_for()
    second = queued(pool, pool.checkout)
    gate.open()
    lease = first.result()
    assert pool.status().waiting == 1
    pool.checkin(lease)
    pool.checkin(second.result())


def test_timeout__holds_for_testing_and_waiting_together(
    make_pool: MakePool, connector: FakeConnector, clock: ManualClock
) -> None:
    pool = make_pool(pool_size=MAX_OPENING + 1)
    lease = pool.checkout()
    connector.on_open = gate = Gate()
    openers = [Task(pool.checkout) for _ in range(MAX_OPENING)]
    gate.wait_for(MAX_OPENING)
    pool.checkin(lease)
    connector.opened[0].alive = False
    clock.advance(5)
    connector.on_ping = lambda _: clock.advance(3)
    with pytest.raises(PoolTimeout, match=r"within 3 s \(waited 3.0 s\)"):
        pool.checkout(timeout=3)
    gate.open()
    for lease in [opener.result() for opener in openers]:
        pool.checkin(lease)
    assert_nothing_lost(pool)


# -- age -----------------------------------------------------------------------------------------


def test_recycle__replaces_at_checkout(
    make_pool: MakePool, connector: FakeConnector, clock: ManualClock
) -> None:
    pool = make_pool(pool_recycle=100.0)
    use_once(pool)
    clock.advance(94.9)
    use_once(pool)
    assert len(connector.opened) == 1
    clock.advance(5.1)
    use_once(pool)
    assert connector.live == [connector.opened[1]]
    assert pool.status().recycled == 1


def test_recycle__closes_at_checkin(
    make_pool: MakePool, connector: FakeConnector, clock: ManualClock
) -> None:
    pool = make_pool(pool_recycle=100.0)
    lease = pool.checkout()
    clock.advance(100)
    pool.checkin(lease)
    assert connector.live == []
    assert pool.status().recycled == 1


def test_recycle__at_checkin_lets_a_waiter_open(
    make_pool: MakePool, connector: FakeConnector, clock: ManualClock
) -> None:
    pool = make_pool(pool_size=1, pool_recycle=100.0)
    lease = pool.checkout()
    waiter = queued(pool, pool.checkout)
    clock.advance(100)
    pool.checkin(lease)
    lease = waiter.result()
    assert lease.connection is connector.opened[1]
    pool.checkin(lease)


def test_recycle__comes_up_to_five_percent_early_and_never_late(
    make_pool: MakePool, connector: FakeConnector, clock: ManualClock
) -> None:
    pool = make_pool(pool_size=64, pool_recycle=1000.0)
    use_once(pool, 64)
    clock.advance(950 - 1e-6)
    use_once(pool, 64)
    assert pool.status().recycled == 0
    clock.advance(25)
    use_once(pool, 64)
    assert 0 < pool.status().recycled < 64, "all replaced together"
    clock.advance(25 + 1e-5)
    use_once(pool, 64)
    assert all(connection.closed for connection in connector.opened[:64])


def test_recycle_none__keeps_connections_for_ever(
    make_pool: MakePool, connector: FakeConnector, clock: ManualClock
) -> None:
    pool = make_pool(pool_recycle=None)
    for _ in range(3):
        use_once(pool)
        clock.advance(1e8)
    assert len(connector.opened) == 1


def test_recycle__counts_from_the_opening_not_from_the_last_use(
    make_pool: MakePool, connector: FakeConnector, clock: ManualClock
) -> None:
    pool = make_pool(pool_recycle=100.0)
    for _ in range(200):
        use_once(pool)
        clock.advance(1)
    assert len(connector.opened) == pytest.approx(2, abs=1)
