"""Many threads that do anything to a pool at any time, and then the audit.

STRESS_SECONDS says for how long; STRESS_SEED repeats what the threads wanted to do, though
not when the machine let them.
"""

from __future__ import annotations

import os
import random
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from django_poolrouter.pooling import (
    Lease,
    Pool,
    PoolClosed,
    PoolConfig,
    PoolExhausted,
    PoolStatus,
    PoolTimeout,
)
from django_poolrouter.pooling.grants import MAX_OPENING
from tests.support.doubles import ConnectFailed, FakeConnection, FakeConnector, Killed, Task
from tests.support.insides import state_of

pytestmark = pytest.mark.stress

SECONDS = float(os.environ.get("STRESS_SECONDS", "2"))
THREADS = 24
STORM = PoolConfig(
    pool_size=3,
    max_overflow=2,
    pool_timeout=1.0,
    pool_recycle=0.2,
    pool_pre_ping=True,
    min_idle=1,
    max_idle=0.05,
    max_waiting=THREADS - 6,
    ping_after=0.002,
)


@pytest.fixture
def seed() -> int:
    seed = int(os.environ.get("STRESS_SEED") or secrets.randbelow(10**9))
    print(f"STRESS_SEED={seed}")
    return seed


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Switch threads as often as can be."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


class WeatherConnector(FakeConnector):
    """A driver on a bad day."""

    def __init__(self, seed: str) -> None:
        super().__init__()
        self.random = random.Random(seed)
        self.on_open = self.trouble(0.1, 0.01, pause=0.002)
        self.on_ping = self.trouble(0.0, 0.01, pause=0.0005)
        self.on_reset = self.trouble(0.02, 0.01)
        self.on_close = self.trouble(0.1, 0.01)
        self.on_fileno = self.trouble(0.01, 0.01)

    def trouble(self, fails: float, dies: float, pause: float = 0.0) -> Callable[..., None]:
        def act(*_: Any) -> None:
            if pause:
                time.sleep(self.random.random() * pause)
            dice = self.random.random()
            if dice < dies:
                raise Killed
            if dice < dies + fails:
                raise ConnectFailed

        return act


class Storm:
    """The pools that there were; closed ones too, the last one is the current one."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.until = time.monotonic() + SECONDS
        self.pools: list[tuple[Pool, WeatherConnector]] = []
        self.served = 0
        self.lock = threading.Lock()
        self.reopen()

    def reopen(self) -> None:
        connector = WeatherConnector(f"{self.seed} pool {len(self.pools)}")
        self.pools.append((Pool("storm", STORM, connector), connector))

    def take_part(self, number: int) -> None:
        dice = random.Random(f"{self.seed} thread {number}")
        while time.monotonic() < self.until:
            pool = self.pools[-1][0]
            with suppress(ConnectFailed, Killed, PoolTimeout, PoolExhausted, PoolClosed):
                self.do_something(pool, dice)

    def do_something(self, pool: Pool, dice: random.Random) -> None:
        what = dice.random()
        if what < 0.01:
            pool.clear()
        elif what < 0.03:
            pool.upkeep()
        elif what < 0.032:
            with self.lock:
                if pool is self.pools[-1][0]:
                    self.reopen()
            pool.close()
        else:
            self.use(pool, dice)

    def use(self, pool: Pool, dice: random.Random) -> None:
        lease = pool.checkout(timeout=dice.choice([0, 0, 0.0005, 0.003, 1]))
        connection: FakeConnection = lease.connection
        connection.use()
        if dice.random() < 0.5:
            time.sleep(dice.random() * 0.003)
        if dice.random() < 0.02:
            connection.alive = False
        connection.leave()
        with self.lock:
            self.served += 1
        self.give_back(pool, lease, dice.random())

    def give_back(self, pool: Pool, lease: Lease, dice: float) -> None:
        if dice < 0.03:
            pool.give_up(lease)
        else:
            pool.checkin(lease, broken=dice < 0.06)


def settle(pool: Pool) -> PoolStatus:
    """Return the figures when what was given up, or failed to be swept, is dealt with."""
    for _ in range(100):
        with suppress(ConnectFailed, Killed):
            pool.upkeep()
            if state_of(pool).closed:
                pool.close()
        status = pool.status()
        if not pool._given_up and not (state_of(pool).closed and status.open):
            return status
    raise AssertionError(f"{pool} does not settle")


def audit(pool: Pool, connector: FakeConnector) -> PoolStatus:
    status = settle(pool)
    assert (status.checkedout, status.waiting, status.opening) == (0, 0, 0)
    assert state_of(pool).closing == 0
    assert connector.mistakes == []
    assert connector.most_live <= STORM.max
    assert connector.most_opening <= MAX_OPENING
    assert status.connects - status.closes == status.open == status.checkedin
    assert {entry.connection for entry in state_of(pool).idle} == set(connector.live)
    assert all(connection.closed for connection in set(connector.opened) - set(connector.live))
    return status


@pytest.mark.usefixtures("hasty_threads")
def test_storm__loses_nothing(seed: int) -> None:
    storm = Storm(seed)
    start = threading.Barrier(THREADS)

    def work(number: int) -> None:
        start.wait()
        storm.take_part(number)

    for task in [Task(work, number) for number in range(THREADS)]:
        task.finished(limit=SECONDS + 30)
        task.result()
    figures = [audit(*each) for each in storm.pools]
    assert storm.served > 100
    # A finalizer-like end of a lease, or a kill, may follow a checkout that counted.
    assert sum(status.checkouts for status in figures) == storm.served
    pool, connector = storm.pools[-1]
    connector.on_open = connector.on_close = connector.on_ping = lambda *_: None
    connector.on_reset = connector.on_fileno = lambda *_: None
    leases = [pool.checkout(timeout=5) for _ in range(STORM.max)]
    assert len({lease.connection for lease in leases}) == STORM.max
    for lease in leases:
        pool.checkin(lease)
    pool.close()
    assert connector.live == []


def quiet_pool(size: int, connector: FakeConnector) -> Pool:
    config = PoolConfig(size, 0, pool_timeout=30.0, pool_recycle=None, pool_pre_ping=True)
    return Pool("quiet", config, connector)


def test_sixteen_threads_over_four__get_equal_shares() -> None:
    connector = FakeConnector()
    pool = quiet_pool(4, connector)
    start = threading.Barrier(17)
    stop = threading.Event()

    def work() -> int:
        start.wait()
        turns = 0
        while not stop.is_set():
            lease = pool.checkout()
            lease.connection.use()
            time.sleep(0.002)
            lease.connection.leave()
            pool.checkin(lease)
            turns += 1
        return turns

    tasks = [Task(work) for _ in range(16)]
    start.wait()
    time.sleep(1)
    stop.set()
    turns = [task.result() for task in tasks]
    assert min(turns) / max(turns) >= 0.8, turns
    assert connector.most_live == 4
    assert pool.status().checkouts == sum(turns)
    pool.close()


def test_spike__is_served_by_few_new_connections() -> None:
    connector = FakeConnector()
    pool = quiet_pool(50, connector)
    for lease in [pool.checkout() for _ in range(5)]:
        pool.checkin(lease)
    connector.on_open = lambda: time.sleep(0.15)
    start = threading.Barrier(50)

    def work() -> None:
        start.wait()
        lease = pool.checkout()
        time.sleep(0.002)
        pool.checkin(lease)

    for task in [Task(work) for _ in range(50)]:
        task.result()
    assert len(connector.opened) - 5 <= 8
    assert connector.most_opening <= MAX_OPENING
    assert pool.status().checkouts == 55
    pool.close()
    assert connector.live == []
