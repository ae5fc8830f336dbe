"""The pool under every order of events that Hypothesis can think of.

Callers are threads of which one runs at a time (``tests.support.doubles.cooperative``): they stop
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
    grants,
)
from django_poolrouter.pooling.pool import COLLECT_EVERY
from tests.support.doubles import ConnectFailed, Killed
from tests.support.doubles.cooperative import (
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
from tests.support.insides import state_of

settings.register_profile("ci", max_examples=150, stateful_step_count=60, derandomize=True)
settings.register_profile("deep", max_examples=5_000, stateful_step_count=100)

# What may come of each point; what goes well stands there more often.
OUTCOMES = {
    "start": ["ok"],
    SWITCH: ["ok"],
    "open": ["ok"] * 6 + ["failed", "failed", "killed"],
    "fileno": ["ok"] * 13 + ["failed", "killed"],
    "close": ["ok"] * 6 + ["failed", "killed"],
    "ping": ["ok", "ok", "dead", "dead", "dead", "killed"],
    "reset": ["ok"] * 13 + ["failed", "killed"],
    "hold": ["checkin", "checkin", "checkin", "broken", "give up"],
}
WAITING = ["time passes", "time passes", "killed"]
GRANTED = ["granted", "granted", "granted", "time passes", "killed"]
EXPECTED = (ConnectFailed, Killed, PoolTimeout, PoolExhausted, PoolClosed)
# Two rounds of the waiting loop.
TIMEOUT = 1.5 * COLLECT_EVERY
REST = 2.0
RECYCLE = 100.0
MEDDLING = ["keep up", "clear", "age"] * 2 + ["close"]
ALL = 1_000_000
SWITCHES = st.sampled_from([ALL, ALL, 0, 1, 2, 3, 5, 8])


class PoolMachine(RuleBasedStateMachine):
    """Callers, each of whom checks out, holds and checks in; and who clears and closes."""

    @initialize(
        size=st.sampled_from([1, 1, 1, 2, 3]),
        overflow=st.sampled_from([0, 0, 0, 1, 2]),
        min_idle=st.sampled_from([0, 0, 1]),
        max_waiting=st.sampled_from([0, 0, 2]),
        recycle=st.sampled_from([None, RECYCLE]),
        opening=st.integers(1, 2),
        most_callers=st.sampled_from([2, 3, 6]),
    )
    def make_pool(
        self,
        size: int,
        overflow: int,
        min_idle: int,
        max_waiting: int,
        recycle: float | None,
        opening: int,
        most_callers: int,
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
            patch.object(grants, "Waiter", ScriptedWaiter),
            patch.object(grants, "MAX_OPENING", opening),
        ]
        for each in self.patches:
            each.start()
        self.connector = ScriptedConnector()
        lock = SwitchingLock()
        self.clock = SwitchingClock(lock)
        self.pool = Pool("shop", config, self.connector, clock=self.clock)
        state_of(self.pool).lock = lock  # type: ignore[assignment]
        self.pool._idle = state_of(self.pool).idle = SwitchingDeque()
        state_of(self.pool).idle.lock = lock  # type: ignore[attr-defined]
        state_of(self.pool).waiters = WatchedQueue()
        self.max_opening = opening
        self.most_callers = most_callers
        self.callers: list[Caller] = []
        self.held: dict[Caller, Lease] = {}
        self.done: list[Caller] = []
        self.closed = False
        self.swept_in_vain = False

    # -- what happens --------------------------------------------------------------------

    @rule(switches=SWITCHES, rest=st.booleans())
    @precondition(lambda self: len(self.callers) < self.most_callers)
    def check_out(self, switches: int, rest: bool) -> None:
        if rest:
            self.clock.advance(REST)
        self.begin(self.use_a_connection, switches)

    @rule(what=st.sampled_from(MEDDLING), switches=SWITCHES)
    @precondition(lambda self: len(self.callers) < self.most_callers)
    def meddle(self, what: str, switches: int) -> None:
        if what == "keep up":
            self.begin(lambda _: self.pool.upkeep(), switches)
        elif what == "clear":
            self.begin(lambda _: self.pool.clear(), switches)
        elif what == "age":
            self.clock.advance(RECYCLE)
        elif len(self.done) > 4:  # to close; there is not much to see afterwards
            self.closed = True
            self.begin(lambda _: self.pool.close(), switches)

    @rule(moves=st.lists(st.integers(0, 6 * 60 * 8 - 1), min_size=1, max_size=8))
    @precondition(lambda self: self.callers)
    def go_on(self, moves: list[int]) -> None:
        for move in moves:
            choice, which = divmod(move, 6)
            self.let_one_go_on(which, *divmod(choice, 8))
            self.check()

    def let_one_go_on(self, which: int, choice: int, switches: int) -> None:
        callers = [caller for caller in self.callers if caller.can_go_on] or self.callers
        if which == 5:  # or those whose turn it is not: their time may be up
            callers = self.callers
        if not callers:
            return
        caller = callers[which % len(callers)]
        if caller.point == "wait":
            outcomes = GRANTED if caller.can_go_on else WAITING
        else:
            outcomes = OUTCOMES[caller.point]
        self.advance(caller, outcomes[choice % len(outcomes)], switches if switches < 6 else ALL)

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
        # A sweep that is killed leaves the rest to the next, or to whoever finds them.
        self.swept_in_vain |= caller.point == "close" and outcome == "killed"
        caller.step(outcome, switches)
        if caller.point == END:
            self.callers.remove(caller)
            self.done.append(caller)
            if caller.error is not None and not isinstance(caller.error, EXPECTED):
                raise caller.error

    # -- what must be so whatever happens ----------------------------------------------------

    @invariant()
    def check(self) -> None:
        if hasattr(self, "pool"):
            self.limits_hold_as_the_server_counts()
            self.each_connection_has_one_place()
            self.nobody_waits_in_vain()
            self.figures_are_true()

    def limits_hold_as_the_server_counts(self) -> None:
        most, its = self.pool.config.max, state_of(self.pool)
        assert self.connector.most_live <= most
        assert self.connector.most_opening <= self.max_opening
        assert len(its.entries) + its.opening + its.closing <= most
        assert its.opening >= 0
        assert its.closing >= 0

    def each_connection_has_one_place(self) -> None:
        pool = self.pool
        leased = [lease.entry for lease in self.held.values()]
        places = [*state_of(pool).idle, *leased, *(lease.entry for lease in pool._given_up)]
        places += [
            caller.waiter.grant
            for caller in self.callers
            if caller.point == "wait" and caller.waiter and caller.can_go_on
        ]
        entries = [place for place in places if hasattr(place, "connection")]
        assert len(entries) == len(set(entries))
        assert set(entries) <= state_of(pool).entries
        assert self.connector.mistakes == []

    def nobody_waits_in_vain(self) -> None:
        """Unless somebody stopped on his way to look after it."""
        pool = self.pool
        if state_of(pool).waiters and not any(c.point in (SWITCH, "start") for c in self.callers):
            assert not state_of(pool).idle
            assert not state_of(pool).may_open
            assert not self.closed

    def figures_are_true(self) -> None:
        pool, status = self.pool, self.pool.status()
        assert status.open == len(state_of(pool).entries) == status.connects - status.closes
        assert status.waiting == len(state_of(pool).waiters)
        assert status.opening == state_of(pool).opening
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
            for caller in getattr(self, "callers", ()):
                caller.dismiss()
            for each in getattr(self, "patches", ()):
                each.stop()

    def go_home(self) -> None:
        self.pool._collect()
        while moving := [caller for caller in self.callers if caller.can_go_on]:
            for caller in moving:
                going_well = {"hold": "checkin", "wait": "granted"}.get(caller.point, "ok")
                self.advance(caller, going_well)
                self.limits_hold_as_the_server_counts()
            self.pool._collect()
        assert not self.callers, "somebody waits for ever"
        self.pool.upkeep()
        self.everything_is_at_rest()
        if not self.closed:
            self.nothing_is_lost()
        if not self.closed or self.swept_in_vain:
            self.pool.close()
        assert self.connector.live == []
        assert self.pool.is_empty

    def everything_is_at_rest(self) -> None:
        status = self.pool.status()
        assert (status.checkedout, status.waiting, status.opening) == (0, 0, 0)
        assert status.open == status.checkedin == len(self.connector.live)
        assert status.connects - status.closes == status.open <= self.pool.config.pool_size
        if not self.swept_in_vain:
            its = state_of(self.pool)
            assert all(entry.generation == its.generation for entry in its.idle)
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
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
TestPoolModel = PoolMachine.TestCase
