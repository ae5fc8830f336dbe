"""The pool under every order of events that Hypothesis can think of.

Callers are threads of which one runs at a time (``tests.doubles.cooperative``): they stop
in the driver, in the queue, and between the pool's own steps, and what becomes of each is
drawn.  So failures replay and shrink.  ``HYPOTHESIS_PROFILE=deep`` looks longer.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from unittest.mock import patch

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from django_poolrouter.pooling import (
    Lease,
    Pool,
    PoolClosed,
    PoolConfig,
    PoolExhausted,
    PoolTimeout,
)
from django_poolrouter.pooling import pool as pool_module
from tests.doubles import ConnectFailed, Killed
from tests.doubles.cooperative import (
    END,
    SWITCH,
    Caller,
    ScriptedConnector,
    ScriptedWaiter,
    SwitchingClock,
    SwitchingDeque,
    SwitchingLock,
    WatchedQueue,
)

settings.register_profile("ci", max_examples=150, stateful_step_count=60, derandomize=True)
settings.register_profile("deep", max_examples=20_000, stateful_step_count=120)

# What may come of each point; what goes well stands there more often.
OUTCOMES = {
    "start": ["ok"],
    SWITCH: ["ok"],
    "open": ["ok", "ok", "ok", "failed", "killed"],
    "fileno": ["ok", "ok", "ok", "ok", "failed", "killed"],
    "close": ["ok", "ok", "ok", "failed", "killed"],
    "ping": ["ok", "ok", "dead", "dead", "killed"],
    "reset": ["ok", "ok", "ok", "failed", "killed"],
    "hold": ["checkin", "checkin", "checkin", "broken", "give up"],
}
WAITING = ["time passes", "time passes", "killed"]
GRANTED = ["granted", "granted", "granted", "time passes", "killed"]
EXPECTED = (ConnectFailed, Killed, PoolTimeout, PoolExhausted, PoolClosed)
# Two rounds of the waiting loop.
TIMEOUT = 1.5 * pool_module.COLLECT_EVERY
REST = 2.0
RECYCLE = 100.0
MOST_CALLERS = 6
ALL = 1_000_000
SWITCHES = st.sampled_from([ALL, ALL, 0, 1, 2, 3, 5, 8])
WHICH = st.integers(0, MOST_CALLERS - 1)
CHOICE = st.integers(0, 59)


class PoolMachine(RuleBasedStateMachine):
    """Callers, each of whom checks out, holds and checks in; and who clears and closes."""

    @initialize(
        size=st.sampled_from([1, 1, 1, 2, 3]),
        overflow=st.sampled_from([0, 0, 0, 1, 2]),
        min_idle=st.sampled_from([0, 0, 1]),
        max_waiting=st.sampled_from([0, 0, 2]),
        recycle=st.sampled_from([None, RECYCLE]),
        opening=st.integers(1, 2),
    )
    def make_pool(
        self,
        size: int,
        overflow: int,
        min_idle: int,
        max_waiting: int,
        recycle: float | None,
        opening: int,
    ) -> None:
        config = PoolConfig(
            pool_size=size,
            max_overflow=overflow,
            pool_timeout=TIMEOUT,
            pool_recycle=recycle,
            pool_pre_ping=True,
            ping_after=1.0,
            min_idle=min_idle,
            max_idle=RECYCLE,
            max_waiting=max_waiting,
        )
        self.patches = [
            patch.object(pool_module, "Waiter", ScriptedWaiter),
            patch.object(pool_module, "MAX_OPENING", opening),
        ]
        for each in self.patches:
            each.start()
        self.connector = ScriptedConnector()
        lock = SwitchingLock()
        self.clock = SwitchingClock(lock)
        self.pool = Pool("shop", config, self.connector, clock=self.clock)
        self.pool._lock = lock  # type: ignore[assignment]
        self.pool._idle = SwitchingDeque()
        self.pool._idle.lock = lock  # type: ignore[attr-defined]
        self.pool._waiters = WatchedQueue()
        self.max_opening = opening
        self.callers: list[Caller] = []
        self.held: dict[Caller, Lease] = {}
        self.done: list[Caller] = []
        self.closed = False

    # -- what happens --------------------------------------------------------------------

    @rule(switches=SWITCHES)
    @precondition(lambda self: len(self.callers) < MOST_CALLERS)
    def check_out(self, switches: int) -> None:
        self.begin(self.use_a_connection, switches)

    @rule(switches=SWITCHES)
    @precondition(lambda self: len(self.callers) < MOST_CALLERS)
    def check_out_after_a_rest(self, switches: int) -> None:
        self.clock.advance(REST)
        self.begin(self.use_a_connection, switches)

    @rule(what=st.sampled_from(["keep up", "clear", "age", "close"]), switches=SWITCHES)
    @precondition(lambda self: len(self.callers) < MOST_CALLERS)
    def meddle(self, what: str, switches: int) -> None:
        if what == "keep up":
            self.begin(lambda _: self.pool.upkeep(), switches)
        elif what == "clear":
            self.begin(lambda _: self.pool.clear(), switches)
        elif what == "close" and len(self.done) > 5:  # there is not much to see afterwards
            self.closed = True
            self.begin(lambda _: self.pool.close(), switches)
        elif what == "age":
            self.clock.advance(RECYCLE)

    @rule(which=WHICH, choice=CHOICE, switches=SWITCHES)
    @precondition(lambda self: self.callers)
    def go_on(self, which: int, choice: int, switches: int) -> None:
        caller = self.callers[which % len(self.callers)]
        if caller.point == "wait":
            outcomes = GRANTED if caller.can_go_on else WAITING
        else:
            outcomes = OUTCOMES[caller.point]
        self.advance(caller, outcomes[choice % len(outcomes)], switches)

    @rule(which=WHICH, choice=CHOICE)
    @precondition(lambda self: self.callers)
    def go_far(self, which: int, choice: int) -> None:
        self.go_on(which, choice, ALL)

    @rule(which=WHICH, choice=CHOICE)
    @precondition(lambda self: any(caller.can_go_on for caller in self.callers))
    def go_on_without_waiting(self, which: int, choice: int) -> None:
        able = [caller for caller in self.callers if caller.can_go_on]
        self.go_on(self.callers.index(able[which % len(able)]), choice, ALL)

    def use_a_connection(self, caller: Caller) -> str:
        lease = self.pool.checkout()
        lease.connection.use()
        self.held[caller] = lease
        outcome = caller.stop_at("hold")
        del self.held[caller]
        lease.connection.leave()
        if outcome == "give up":
            self.pool.give_up(lease)
        else:
            self.pool.checkin(lease, broken=outcome == "broken")
        return "served"

    def begin(self, work: Callable[[Caller], object], switches: int) -> None:
        caller = Caller(work)
        self.callers.append(caller)
        self.advance(caller, "ok", switches)

    def advance(self, caller: Caller, outcome: str, switches: int = ALL) -> None:
        caller.step(outcome, switches)
        if caller.point == END:
            self.callers.remove(caller)
            self.done.append(caller)
            if caller.error is not None and not isinstance(caller.error, EXPECTED):
                raise caller.error

    # -- what must be so whatever happens ----------------------------------------------------

    @invariant()
    def limits_hold_as_the_server_counts(self) -> None:
        pool = self.pool
        assert self.connector.most_live <= pool.config.max
        assert self.connector.most_opening <= self.max_opening
        assert len(pool._entries) + pool._opening + pool._closing <= pool.config.max
        assert pool._opening >= 0
        assert pool._closing >= 0

    @invariant()
    def each_connection_has_one_place(self) -> None:
        pool = self.pool
        leased = [lease.entry for lease in self.held.values()]
        places = [*pool._idle, *leased, *(lease.entry for lease in pool._given_up)]
        places += [
            caller.waiter.grant
            for caller in self.callers
            if caller.point == "wait" and caller.waiter and caller.can_go_on
        ]
        entries = [place for place in places if hasattr(place, "connection")]
        assert len(entries) == len(set(entries))
        assert set(entries) <= pool._entries
        assert self.connector.mistakes == []

    @invariant()
    def nobody_waits_in_vain(self) -> None:
        """Unless somebody stopped on his way to look after it."""
        pool = self.pool
        if pool._waiters and not any(c.point in (SWITCH, "start") for c in self.callers):
            assert not pool._idle
            assert not pool._may_open()
            assert not self.closed

    @invariant()
    def figures_are_true(self) -> None:
        pool, status = self.pool, self.pool.status()
        assert status.open == len(pool._entries) == status.connects - status.closes
        assert status.waiting == len(pool._waiters)
        assert status.opening == pool._opening
        if not any(c.point in (SWITCH, "start", "hold") for c in self.callers):
            ended = [type(caller.error) for caller in self.done]
            assert status.timeouts == ended.count(PoolTimeout)
            assert status.refused == ended.count(PoolExhausted)

    # -- the end: everybody goes home ----------------------------------------------------------

    def teardown(self) -> None:
        try:
            if hasattr(self, "pool"):
                self.go_home()
        finally:
            for each in getattr(self, "patches", ()):
                each.stop()

    def go_home(self) -> None:
        while moving := [caller for caller in self.callers if caller.can_go_on]:
            for caller in moving:
                going_well = {"hold": "checkin", "wait": "granted"}.get(caller.point, "ok")
                self.advance(caller, going_well)
                self.limits_hold_as_the_server_counts()
            if self.pool._given_up:
                self.begin(lambda _: self.pool.upkeep(), 0)
        assert not self.callers, "somebody waits for ever"
        self.pool.upkeep()
        self.everything_is_at_rest()
        if not self.closed:
            self.nothing_is_lost()
            self.pool.close()
        assert self.connector.live == []
        assert self.pool.is_empty

    def everything_is_at_rest(self) -> None:
        status = self.pool.status()
        assert (status.checkedout, status.waiting, status.opening) == (0, 0, 0)
        assert status.open == status.checkedin == len(self.connector.live)
        assert status.connects - status.closes == status.open <= self.pool.config.pool_size
        served = sum(caller.result == "served" for caller in self.done)
        assert status.checkouts >= served

    def nothing_is_lost(self) -> None:
        leases = [self.pool.checkout(timeout=0) for _ in range(self.pool.config.max)]
        assert len({id(lease.connection) for lease in leases}) == len(leases)
        for lease in leases:
            self.pool.checkin(lease)


PoolMachine.TestCase.settings = settings(
    settings.get_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci")),
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
TestPoolModel = PoolMachine.TestCase
