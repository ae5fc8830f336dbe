"""The pool: lends connections to callers in turn, and resets them at checkin.

``checkout`` takes the entry used last (LIFO) off a deque, or joins the queue.  ``checkin``
hands the entry to the caller that has waited longest (FIFO), or puts it back on the deque.
A returned entry goes straight to the first waiter, so no newcomer can overtake and no
thread starves.

The common path takes no lock.  ``deque.pop`` and ``deque.append`` are atomic, and each side
publishes its own work before it looks at the other's: a waiter joins the queue and then
looks at the deque; a checkin appends and then looks at the queue.  This is the flag protocol
of Dekker's algorithm, which needs the sequential consistency that the GIL gives.
In all other cases the pool turns to ``PoolState``, which decides, and to ``Lifecycle``, which
opens, tests and closes connections.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial

from . import counters
from .config import PoolConfig
from .connector import Connector
from .counters import SINCE, THREAD, USES, Page, PoolStatus
from .entry import CLEARED, EXPIRED, Entry, Lease
from .errors import NoReset, PoolError
from .grants import PoolState
from .leaks import report_leaks
from .lifecycle import SECOND, Lifecycle, nothing, ns, why_expired
from .waiters import Permit, Waiter

logger = logging.getLogger("django_poolrouter.pool")

# How often, in seconds, a waiting caller looks for leases that finalizers gave up.
COLLECT_EVERY = 0.5
# After a failed connect ahead of demand, the pool pauses for PAUSE_FACTOR times its duration,
# and for at most MAX_PAUSE seconds.  Otherwise a server that swallows packets could block the
# housekeeper, which all pools share, nearly all the time.
PAUSE_FACTOR = 9
MAX_PAUSE = 120

get_ident = threading.get_ident
new = object.__new__


class Pool:
    """A thread-safe pool of DB-API connections.

    Args:
        name: the pool's name in messages.
        config: its options.
        connector: the interface to the driver.
        page: where the figures are kept; private memory by default.
        clock: returns the monotonic time in nanoseconds.
        on_open: called with the pool after each successful connect.
        on_lost: called with each entry whose connection was found dead or came back broken.

    """

    def __init__(
        self,
        name: str,
        config: PoolConfig,
        connector: Connector,
        page: Page | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
        on_open: Callable[[Pool], object] = nothing,
        on_lost: Callable[[Entry], object] = nothing,
    ) -> None:
        self.name = name
        self.config = config
        self.page = page or Page.private(config.max)
        self._connector = connector
        self._reset = connector.reset
        self._clock = clock
        self._state = PoolState(name, config, self.page)
        self._idle = self._state.idle
        self._lifecycle = Lifecycle(
            self, self._state, connector, clock, partial(on_open, self), on_lost
        )
        self._ping_after = self._lifecycle.ping_after
        self._given_up: deque[Lease] = deque()
        self._fill_after = 0  # monotonic ns

    def __repr__(self) -> str:
        status = self.status()
        return (
            f"<Pool {self.name!r} open={status.open} in_use={status.checkedout} "
            f"max={status.max} waiting={status.waiting}{' closed' if self._state.closed else ''}>"
        )

    # -- what callers do -------------------------------------------------------------

    def checkout(self, timeout: float | None = None) -> Lease:
        """Return a lease of a working connection; the caller must check it in exactly once.

        Args:
            timeout: longest wait in seconds for other callers' connections; ``pool_timeout``
                by default.  It does not limit a connect: the driver's own timeout does.

        Raises:
            PoolTimeout: no connection was available in time.
            PoolExhausted: ``max_waiting`` callers already wait.
            PoolClosed: the pool is closed, or was closed while the caller waited.
            Exception: the driver's error, if a connection could not be opened.

        """
        try:
            entry = self._idle.pop()
        except IndexError:
            return self._lend(self._queue(timeout))
        try:
            now = self._clock()
            has_news = entry.has_news
            is_sound = (
                now < entry.expires
                and now - entry.used < self._ping_after
                and (has_news is None or not has_news(0))
            )
        except BaseException:
            self._lifecycle.retire(entry, counters.LOST)
            raise
        if not is_sound:
            return self._lend(self._examine(entry, now, timeout))
        # As _lend does.  A call would cost a sixth of the common path.
        cell = entry.cell
        thread = get_ident()
        if entry.holder != thread:
            cell[THREAD] = entry.holder = thread
        cell[USES] = entry.uses = entry.uses + 1
        cell[SINCE] = now
        lease = new(Lease)  # __init__ would cost a thirtieth of the whole cycle
        lease.entry = entry
        return lease

    def checkout_idle(self) -> Lease | None:
        """Return a lease of an idle connection, pinged if need be; None if there is none.

        This neither waits for other callers nor opens a connection.
        """
        try:
            entry = self._idle.pop()
        except IndexError:
            return None
        fault = self._lifecycle.fault(entry, self._clock())
        if fault:
            self._lifecycle.retire(entry, fault)
            return None
        return self._lend(entry)

    def _lend(self, entry: Entry) -> Lease:
        thread = get_ident()
        if entry.holder != thread:
            entry.cell[THREAD] = entry.holder = thread
        entry.cell[USES] = entry.uses = entry.uses + 1
        entry.cell[SINCE] = self._clock()
        return Lease(entry)

    def checkin(self, lease: Lease, *, broken: bool = False) -> None:
        """Give a lease back; an open transaction is rolled back.

        Args:
            lease: what ``checkout`` returned.
            broken: close the connection instead of lending it again.

        Raises:
            PoolError: the lease is already checked in, or belongs to another pool.

        """
        entry = lease.entry
        if entry is None or entry.pool is not self:
            what = "was checked in twice" if entry is None else "was expected, not another pool's"
            raise PoolError(f"bug: a lease of pool {self.name!r} {what}")
        lease.entry = None
        if not broken:
            try:
                mark = self._reset(entry.connection)
                if mark is not None:
                    self._state.note_reset(mark)
            except NoReset as error:
                entry.expires = min(entry.expires, EXPIRED)
                self._state.note_reset(error.mark)
            except Exception:
                logger.debug("pool %s: reset failed, closing %r", self.name, entry, exc_info=True)
                broken = True
            except BaseException:
                self._take_back(entry, self._clock(), broken=True)
                raise
        now = entry.used = self._clock()
        state = self._state
        if state.is_tight or broken or now >= entry.expires:
            self._take_back(entry, now, broken=broken)
            return
        entry.cell[SINCE] = -now
        self._idle.append(entry)
        # Look again: since the tests above, one caller may have begun to wait, and another may
        # have cleared the pool.  Neither of them saw this entry.
        if self._state.is_tight or entry.expires == CLEARED:
            state.serve()
            self._lifecycle.sweep()

    def renew(self, lease: Lease) -> bool:
        """Clear the session of a lease in use; return False if only a new connection is neutral.

        Raises:
            Exception: the driver's error; check the lease in as broken.

        """
        entry = lease.entry
        if entry is None:
            raise PoolError(f"bug: a lease of pool {self.name!r} was used after checkin")
        try:
            self._connector.renew(entry.connection)
        except NoReset:
            entry.expires = min(entry.expires, EXPIRED)
            return False
        finally:
            self._state.note_reset("")
        return True

    def give_up(self, lease: Lease) -> None:
        """Have another call check the lease in soon; takes no lock, so finalizers may call it."""
        self._given_up.append(lease)

    def note_unsafe_read(self) -> None:
        """Count a read that ran here only because its request was not safe."""
        self._state.note_unsafe_read()

    def status(self) -> PoolStatus:
        """Return the current figures."""
        return self._state.status(self._clock())

    def clear(self) -> None:
        """Drop all connections: idle ones are closed now, leased ones at checkin."""
        self._state.clear(self._state.generation)
        self._lifecycle.sweep()

    def close(self) -> None:
        """Close for good: waiters get PoolClosed, leased connections close at checkin."""
        self._state.close()
        self._lifecycle.sweep()

    @property
    def is_empty(self) -> bool:
        """Tell whether no connection is open or being opened."""
        return self._state.is_empty

    def abandon(self) -> None:
        """Make the parent's connections harmless in a forked child; takes no lock.

        The lock may have been held by a thread that does not exist in the child.  Afterwards
        the pool accepts only the checkins of blocks that the child still has to leave.
        """
        self._state.renew_lock()
        for entry in list(self._state.entries):
            self._lifecycle.abandon(entry)

    # -- slow checkout: no entry is idle, or it is not sound -------------------------------

    def _queue(self, timeout: float | None) -> Entry:
        """Wait in turn for an entry, or for a permit to open one."""
        if self._given_up:
            self._collect()
        return self._take(self._state.join(self._clock()), timeout)

    def _examine(self, entry: Entry, now: int, timeout: float | None) -> Entry:
        """Test the entry thoroughly; return it if it is sound, else another."""
        fault = self._lifecycle.fault(entry, now)
        return self._take(self._replace(entry, fault, now), timeout) if fault else entry

    def _take(self, waiter: Waiter, timeout: float | None) -> Entry:
        """Wait for the grant; return the granted entry, or open one with the granted permit."""
        limit = self.config.pool_timeout if timeout is None else timeout
        while True:
            if waiter.grant is None:
                self._wait(waiter, limit)
            grant = waiter.grant
            if isinstance(grant, Entry):
                fault = self._lifecycle.fault(grant, self._clock())
                if not fault:
                    return grant
                waiter = self._replace(grant, fault, waiter.since)
            elif isinstance(grant, Permit):
                return self._lifecycle.open()
            else:
                assert grant is not None
                raise grant

    def _wait(self, waiter: Waiter, timeout: float) -> None:
        """Wait for the grant, which is not lost even if the wait is interrupted."""
        # Time spent on testing a faulty connection counts too.
        left = timeout - (self._clock() - waiter.since) / SECOND
        try:
            while not waiter.wait(min(left, COLLECT_EVERY) if left > 0 else 0.0):
                left -= COLLECT_EVERY
                if left <= 0:
                    break
                self._collect()
        except BaseException:  # KeyboardInterrupt, gevent.Timeout, GreenletExit
            self._withdraw(waiter)
            raise
        error = self._state.end_wait(waiter, timeout, self._clock())
        if error is not None:
            raise error

    def _withdraw(self, waiter: Waiter) -> None:
        """Pass on the grant of a waiter that will not use it."""
        entry = self._state.withdraw(waiter)
        if entry is not None:
            self._take_back(entry, self._clock())

    def _replace(self, entry: Entry, fault: int, since: int) -> Waiter:
        """Close a caller's faulty entry; return a waiter, first in the queue, for another entry."""
        waiter = self._state.replace(entry, fault, since)
        try:
            self._lifecycle.end(entry, fault)
        except BaseException:
            self._withdraw(waiter)
            raise
        return waiter

    def _collect(self) -> None:
        """Check in the leases that were given up."""
        while self._given_up:
            try:
                lease = self._given_up.popleft()
            except IndexError:
                return
            self.checkin(lease)

    # -- slow checkin: more to do than to append -----------------------------------------------

    def _take_back(self, entry: Entry, now: int, *, broken: bool = False) -> None:
        """Give the entry to the first waiter, put it with the idle ones, or close it."""
        state = self._state
        if state.is_mine():
            # The garbage collector runs a finalizer in the middle of a method of the state.
            if broken:
                entry.expires = CLEARED
            self.give_up(Lease(entry))
            return
        if broken:
            self._lifecycle.retire(entry, counters.LOST)
        elif now >= entry.expires:
            self._lifecycle.retire(entry, why_expired(entry))
        else:
            entry.cell[SINCE] = -now
            if not state.hand_over(entry):
                self._lifecycle.end(entry)

    # -- upkeep, in the housekeeper's thread ------------------------------------------------

    @property
    def upkeep_interval(self) -> float | None:
        """Seconds between two calls of ``upkeep``; None while there is nothing to do."""
        config = self.config
        if self._state.closed or not (self._state.entries or config.min_idle):
            return None
        limits = [config.pool_recycle, config.max_idle, config.leak_after]
        shortest = min((limit for limit in limits if limit), default=30.0)
        return 1.0 if config.min_idle else max(0.05, min(30.0, shortest / 10))

    @property
    def asks_for_thread(self) -> bool:
        """Whether the options ask for something that only upkeep does."""
        return bool(self.config.min_idle or self.config.leak_after)

    def upkeep(self) -> None:
        """Close entries that were idle too long or are too old, keep ``min_idle``, report leaks."""
        self._collect()
        self._lifecycle.close_idle()
        if self.config.leak_after:
            report_leaks(self._state, self._clock(), ns(self.config.leak_after))
        self._fill()

    def _fill(self) -> None:
        began = self._clock()
        while began >= self._fill_after and self._state.may_open_ahead():
            try:
                entry = self._lifecycle.open()
            except Exception as error:
                logger.info("pool %s: could not connect ahead of demand: %s", self.name, error)
                now = self._clock()
                self._fill_after = now + min((now - began) * PAUSE_FACTOR, ns(MAX_PAUSE))
                return
            self._take_back(entry, self._clock())
