"""The pool: who gets which connection, and when one is opened or closed.

The data's way: ``checkout`` takes the entry used last (LIFO) off a deque, or joins the
queue; ``checkin`` hands the entry to the caller that waits longest (FIFO), or puts it
back on the deque.  Because a returned entry goes straight to the first in the queue,
no newcomer can overtake and no thread starves.

An entry is in exactly one place: idle on the deque, leased, or granted to a waiter that
has not woken up yet.  ``_match`` is the one place where waiters meet entries and the
right to open one; everything that frees capacity calls it, so no wake-up is lost.

The common path takes no lock.  ``deque.pop`` and ``deque.append`` are atomic, and the two
sides look at each other's work after publishing their own: a waiter joins the queue and
then looks at the deque, a releaser appends and then looks at the queue (the flag protocol
of Dekker's algorithm, which needs the sequential consistency that the GIL gives).
"""

from __future__ import annotations

import logging
import random
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from . import counters
from .config import PoolConfig
from .connector import Connector
from .counters import SINCE, THREAD, USES, Page, PoolStatus
from .entry import Entry, Lease, readable_probe
from .errors import PoolClosed, PoolError, PoolExhausted, PoolTimeout
from .waiters import PERMIT, Permit, Waiter, WaitQueue

logger = logging.getLogger("django_poolrouter.pool")

# How many connections may be opened at once.  In a spike the connections that come back
# serve most callers long before as many new ones could be opened.
MAX_OPENING = 4
# Lifetimes are cut by up to this share, so that connections opened together do not
# all have to be replaced together.
JITTER = 0.05
# How often a waiting caller looks for leases that finalizers gave up, in seconds.
COLLECT_EVERY = 0.5
SECOND = 1_000_000_000
NEVER = sys.maxsize

get_ident = threading.get_ident


class Pool:
    """A thread-safe pool of DB-API connections.

    Args:
        name: what messages call the pool.
        config: its options.
        connector: the door to the driver.
        page: where the figures are kept; private memory by default.
        clock: monotonic time in nanoseconds.
        on_open: called with the pool after each connection it opened.

    """

    def __init__(
        self,
        name: str,
        config: PoolConfig,
        connector: Connector,
        page: Page | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
        on_open: Callable[[Pool], object] = id,
    ) -> None:
        self.name = name
        self.config = config
        self._connector = connector
        self._reset = connector.reset
        self._clock = clock
        self._on_open = on_open
        self.page = page or Page.private(config.max)
        self._words = self.page.words
        self._words[counters.SIZE] = config.pool_size
        self._words[counters.MAX] = config.max
        self._size = config.pool_size
        self._ping_after = _ns(config.ping_after) if config.pool_pre_ping else NEVER

        # The lock guards all that follows, but for what is said of _idle and _generation.
        # It is held for a few microseconds at a time: nothing is opened, closed, pinged
        # or logged under it.
        self._lock = threading.Lock()
        self._entries: set[Entry] = set()
        self._waiters = WaitQueue()
        self._opening = 0
        self._closing = 0  # off the books, but not closed yet: they still take room
        self._closed = False
        self._last_connect_error: BaseException | None = None
        # Popped and appended to without the lock.
        self._idle: deque[Entry] = deque()
        self._given_up: deque[Lease] = deque()
        # Written under the lock, read without it; older entries are not lent again.
        self._generation = 0

    def __repr__(self) -> str:
        status = self.status()
        return (
            f"<Pool {self.name!r} open={status.open} in_use={status.checkedout} "
            f"max={status.max} waiting={status.waiting}{' closed' if self._closed else ''}>"
        )

    # -- what callers do -------------------------------------------------------------

    def checkout(self, timeout: float | None = None) -> Lease:
        """Return a lease of a living connection; the caller must check it in exactly once.

        Args:
            timeout: longest wait in seconds for other callers' connections, by default
                the pool's.  Opening one is bounded by the driver's own connect timeout.

        Raises:
            PoolTimeout: none came free in time.
            PoolExhausted: ``max_waiting`` callers wait already.
            PoolClosed: the pool is closed, or was while the caller waited.
            Exception: what the driver raised when a connection could not be opened.

        """
        limit = self.config.pool_timeout if timeout is None else timeout
        try:
            entry = self._idle.pop()
            began = now = self._clock()
        except IndexError:
            began = self._clock()
            entry = self._queue(began, limit)
            now = self._clock()
        while not entry.fresh and (fault := self._fault(entry, now)):
            entry = self._replace(entry, fault, began, limit)
            now = self._clock()
        cell = entry.cell
        thread = get_ident()
        if entry.holder != thread:
            cell[THREAD] = entry.holder = thread
        cell[USES] = entry.uses = entry.uses + 1
        cell[SINCE] = entry.used = now
        return Lease(entry, self)

    def checkin(self, lease: Lease, *, broken: bool = False) -> None:
        """Give a lease back, with whatever transaction is open rolled back.

        Args:
            lease: what ``checkout`` returned.
            broken: close the connection instead of lending it again.

        Raises:
            PoolError: the lease was checked in before.

        """
        entry, lease.entry = lease.entry, None
        if entry is None:
            raise PoolError(f"bug: a lease of pool {self.name!r} was checked in twice")
        lease.connection = None
        try:
            if not broken:
                self._reset(entry.connection)
        except Exception:
            logger.debug("pool %s: reset failed, closing %r", self.name, entry, exc_info=True)
            broken = True
        except BaseException:
            self._retire(entry, counters.LOST)
            raise
        if broken:
            self._retire(entry, counters.LOST)
        else:
            self._put_back(entry)

    def give_up(self, lease: Lease) -> None:
        """Leave a lease to be checked in soon; takes no lock, so finalizers may call it."""
        self._given_up.append(lease)

    def status(self) -> PoolStatus:
        """Return the figures of this moment."""
        with self._lock:
            return counters.read(self._words, self._clock())

    def clear(self) -> None:
        """Replace every connection: idle ones are closed now, leased ones at checkin."""
        with self._lock:
            self._generation += 1
        self._sweep()

    def close(self) -> None:
        """Close for good: waiters get PoolClosed, leased connections close at checkin."""
        with self._lock:
            self._closed = True
            self._generation += 1
            while self._waiters:
                self._waiters.next().give(PoolClosed(f"pool {self.name!r} is closed"))
            self._note_queue()
        self._sweep()

    @property
    def is_empty(self) -> bool:
        """Tell whether no connection is open or being opened."""
        return not (self._entries or self._opening or self._closing)

    def abandon(self) -> None:
        """Make the parent's connections harmless in a forked child; takes no lock.

        The lock may have been held by a thread that does not exist here.  The pool must
        not be used afterwards, but for the checkins of blocks that the child leaves.
        """
        self._lock = threading.Lock()
        for entry in list(self._entries):
            self._connector.abandon(entry.connection)

    # -- checkout, when no entry is idle -----------------------------------------------

    def _queue(self, began: int, timeout: float) -> Entry:
        """Wait in turn for an entry, or for the right to open one."""
        self._collect()
        waiter = Waiter(began)
        with self._lock:
            if self._closed:
                raise PoolClosed(f"pool {self.name!r} is closed")
            self._waiters.join(waiter)
            self._match()
            limit = self.config.max_waiting
            if limit and len(self._waiters) > limit and waiter.grant is None:
                self._waiters.leave(waiter)
                self._note_queue()
                self._words[counters.REFUSED] += 1
                message = f"pool {self.name!r}: {limit} callers wait already; {self._figures()}"
                raise PoolExhausted(message) from self._last_connect_error
        return self._take(waiter, timeout)

    def _replace(self, entry: Entry, fault: int, began: int, timeout: float) -> Entry:
        """Close a faulty entry and get another, before all who wait: it was this caller's turn."""
        waiter = Waiter(began)
        with self._lock:
            self._forget(entry, fault)
            if self._closed:
                waiter.give(PoolClosed(f"pool {self.name!r} is closed"))
            else:
                self._waiters.join(waiter, first=True)
                self._match()
        try:
            self._close(entry.connection)
        except BaseException:
            self._refuse(waiter)
            raise
        return self._take(waiter, timeout)

    def _take(self, waiter: Waiter, timeout: float) -> Entry:
        """Wait for the grant and return the entry that it is, or that it lets us open."""
        if waiter.grant is None:
            self._wait(waiter, timeout)
        grant = waiter.grant
        if isinstance(grant, Entry):
            return grant
        if isinstance(grant, Permit):
            return self._open()
        assert grant is not None
        raise grant

    def _collect(self) -> None:
        """Check in what was given up."""
        while self._given_up:
            try:
                lease = self._given_up.popleft()
            except IndexError:
                return
            self.checkin(lease)

    def _wait(self, waiter: Waiter, timeout: float) -> None:
        """Wait for the grant; whatever happens, it is not lost."""
        began = waiter.since
        # What was spent on testing a connection in vain counts too.
        left = timeout - (self._clock() - began) / SECOND
        try:
            while not waiter.wait(max(0.0, min(left, COLLECT_EVERY))):
                left -= COLLECT_EVERY
                if left <= 0:
                    break
                self._collect()
        except BaseException:  # KeyboardInterrupt, gevent.Timeout, GreenletExit
            self._refuse(waiter)
            raise
        waited = self._clock() - began
        with self._lock:
            self._words[counters.WAITS] += 1
            self._words[counters.WAITED_NS] += waited
            if waiter.grant is not None:  # perhaps given at the last moment: keep it
                return
            self._waiters.leave(waiter)
            self._note_queue()
            self._words[counters.TIMEOUTS] += 1
            message = (
                f"pool {self.name!r} (profile {self.config.profile!r}): "
                f"no connection within {timeout:g} s (waited {waited / 1e9:.1f} s); "
                f"{self._figures()}"
            )
            cause = self._last_connect_error
        raise PoolTimeout(message) from cause

    def _refuse(self, waiter: Waiter) -> None:
        """Pass on what a waiter was granted who is not there to take it."""
        with self._lock:
            self._waiters.leave(waiter)
            self._note_queue()
            grant = waiter.grant
            if isinstance(grant, Permit):
                self._opening -= 1
                self._match()
        if isinstance(grant, Entry):
            self._put_back(grant)

    def _match(self) -> None:
        """Give idle entries, then rights to open, to the waiters; the caller holds the lock."""
        while self._waiters:
            try:
                entry = self._idle.pop()
            except IndexError:
                break
            self._waiters.next().give(entry)
        while self._waiters and self._may_open():
            self._opening += 1
            self._waiters.next().give(PERMIT)
        self._note_queue()

    def _may_open(self) -> bool:
        return self._opening < MAX_OPENING and self._room() > 0

    def _room(self) -> int:
        return self.config.max - len(self._entries) - self._opening - self._closing

    def _note_queue(self) -> None:
        """Write down what changes with the queue; the caller holds the lock."""
        first = self._waiters.first()
        self._words[counters.OLDEST_WAIT] = first.since if first else 0
        self._words[counters.WAITING] = len(self._waiters)
        self._words[counters.OPENING] = self._opening

    def _figures(self) -> str:
        """Return the figures for an error message; the caller holds the lock."""
        now = counters.read(self._words, self._clock())
        return (
            f"size {self.config.pool_size} + overflow {self.config.max_overflow}, "
            f"{now.checkedout} in use (longest {now.oldest_use:.1f} s), {now.checkedin} idle, "
            f"{self._opening} opening, {now.waiting} others waiting"
        )

    # -- the life of an entry ------------------------------------------------------------

    def _open(self) -> Entry:
        """Open a connection; the caller holds a right to, which is used up in any case."""
        generation = self._generation
        try:
            connection = self._connector.open()
            try:
                readable = readable_probe(self._connector.fileno(connection))
                backend = self._connector.backend_id(connection)
            except BaseException:
                self._shut(connection)
                raise
        except BaseException as error:
            with self._lock:
                self._opening -= 1
                self._words[counters.CONNECT_ERRORS] += 1
                self._last_connect_error = error
                self._match()
            raise
        now = self._clock()
        with self._lock:
            self._opening -= 1
            self._last_connect_error = None
            self._words[counters.CONNECTS] += 1
            entry = Entry(
                connection,
                generation=generation,
                created=now,
                expires=now + self._lifetime(),
                cell=self.page.take_cell(),
                readable=readable,
                backend=backend,
            )
            self._entries.add(entry)
            self._match()
        if self._closed:
            self._retire(entry)
            raise PoolClosed(f"pool {self.name!r} was closed while a connection was opened")
        try:
            self._on_open(self)
        except BaseException:
            self._retire(entry)
            raise
        return entry

    def _lifetime(self) -> int:
        if self.config.pool_recycle is None:
            return NEVER
        return int(_ns(self.config.pool_recycle) * (1 - JITTER * random.random()))  # noqa: S311

    def _fault(self, entry: Entry, now: int) -> int:
        """Return why the entry must not be lent, as the word that counts it, or 0."""
        if entry.generation != self._generation:
            return counters.CLEARED
        if now >= entry.expires:
            return counters.RECYCLED
        try:
            if not entry.readable(0) and now - entry.used < self._ping_after:
                return 0
            if self._connector.ping(entry.connection, self.config.ping_timeout):
                return 0
            self._clear_with(entry)
        except BaseException:
            self._retire(entry, counters.LOST)
            raise
        return counters.LOST

    def _clear_with(self, entry: Entry) -> None:
        """One dead connection is seldom alone: replace all that are not newer than it.

        Of several threads that find the same failure, only the first clears; the
        connections opened since have a newer generation.
        """
        with self._lock:
            if entry.generation == self._generation:
                self._generation += 1
        self._sweep()

    def _put_back(self, entry: Entry) -> None:
        """Give the entry to the first waiter, or to the idle ones, or close it."""
        now = self._clock()
        if entry.generation != self._generation:
            self._retire(entry, counters.CLEARED)
            return
        if now >= entry.expires:
            self._retire(entry, counters.RECYCLED)
            return
        entry.fresh = False
        entry.used = now
        entry.leak_reported = False
        entry.cell[SINCE] = -now
        if self._waiters or len(self._entries) > self._size:
            if not self._hand_over(entry):
                self._close(entry.connection)
                return
        else:
            self._idle.append(entry)
        # Look again: since the tests above, a caller may have begun to wait and another
        # may have cleared the pool, and neither saw this entry.
        if self._waiters:
            with self._lock:
                self._match()
        if entry.generation != self._generation:
            self._sweep()

    def _hand_over(self, entry: Entry) -> bool:
        """Give the entry to the first waiter or the idle ones; False if it is surplus."""
        with self._lock:
            if self._waiters:
                self._waiters.next().give(entry)
                self._note_queue()
                return True
            if len(self._entries) > self._size:
                self._forget(entry)
                return False
            self._idle.append(entry)
            return True

    def _retire(self, entry: Entry, fault: int = 0) -> None:
        """Close an entry that is in no place, and let a waiter use its room."""
        with self._lock:
            self._forget(entry, fault)
        self._close(entry.connection)

    def _forget(self, entry: Entry, fault: int = 0) -> None:
        """Take the entry off the books; the caller holds the lock and closes it afterwards.

        Until then it keeps its room: the server would count one connection too many.
        """
        self._entries.remove(entry)
        self._closing += 1
        self.page.free_cell(entry.cell_number)
        self._words[counters.CLOSES] += 1
        if fault:
            self._words[fault] += 1

    def _sweep(self) -> None:
        """Close idle entries of an older generation."""
        for entry in self._take_idle(lambda entry: entry.generation != self._generation):
            self._retire(entry, counters.CLEARED)

    def _take_idle(self, unwanted: Callable[[Entry], bool]) -> Iterator[Entry]:
        """Take the unwanted entries off the deque one by one, longest idle first."""
        for entry in list(self._idle):
            if unwanted(entry):
                try:
                    self._idle.remove(entry)
                except ValueError:  # lent since; whoever has it finds out
                    continue
                yield entry

    def _close(self, connection: Any) -> None:
        """Close what was taken off the books, and let a waiter use its room."""
        try:
            self._shut(connection)
        finally:
            with self._lock:
                self._closing -= 1
                self._match()

    def _shut(self, connection: Any) -> None:
        try:
            self._connector.close(connection)
        except Exception:
            logger.debug("pool %s: closing a connection failed", self.name, exc_info=True)

    # -- housekeeping, from a thread of its own ---------------------------------------------

    @property
    def upkeep_interval(self) -> float | None:
        """How often ``upkeep`` is wanted, in seconds; None while there is nothing to keep up."""
        config = self.config
        if self._closed or not (self._entries or config.min_idle):
            return None
        limits = [config.pool_recycle, config.max_idle, config.leak_after]
        shortest = min((limit for limit in limits if limit), default=30.0)
        return 1.0 if config.min_idle else max(0.05, min(30.0, shortest / 10))

    def upkeep(self) -> None:
        """Close what rested or lived too long, open what min_idle asks for, report leaks."""
        self._collect()
        self._close_rested()
        self._fill()
        if self.config.leak_after:
            self._report_leaks(_ns(self.config.leak_after))

    def _close_rested(self) -> None:
        now = self._clock()
        rest = _ns(self.config.max_idle) if self.config.max_idle else NEVER
        spare = len(self._idle) - self.config.min_idle

        def unwanted(entry: Entry) -> bool:
            nonlocal spare
            spare -= 1
            return now >= entry.expires or (spare >= 0 and now - entry.used >= rest)

        for entry in self._take_idle(unwanted):
            self._retire(entry, counters.RECYCLED)

    def _fill(self) -> None:
        while True:
            with self._lock:
                missing = self.config.min_idle - len(self._idle)
                if self._closed or missing <= 0 or not self._may_open():
                    return
                if len(self._entries) + self._opening >= self.config.pool_size:
                    return
                self._opening += 1
                self._note_queue()
            try:
                entry = self._open()
            except Exception as error:
                logger.info("pool %s: could not open ahead of demand: %s", self.name, error)
                return
            self._put_back(entry)

    def _report_leaks(self, limit: int) -> None:
        now = self._clock()
        for entry, since in self._leased(now - limit):
            with self._lock:
                if entry.leak_reported or entry not in self._entries:
                    continue
                entry.leak_reported = True
                self._words[counters.LEAKS] += 1
            frame = sys._current_frames().get(entry.holder)
            stack = "".join(traceback.format_stack(frame)) if frame else "(its thread has ended)\n"
            logger.warning(
                "pool %s: a connection is in use for %.1f s, longer than leak_after, by:\n%s",
                self.name,
                (now - since) / 1e9,
                stack,
            )

    def _leased(self, before: int) -> list[tuple[Entry, int]]:
        """Return the entries leased since before a time (monotonic ns), and since when."""
        with self._lock:
            found = [(entry, entry.cell[SINCE]) for entry in self._entries]
        return [(entry, since) for entry, since in found if 0 < since <= before]


def _ns(seconds: float) -> int:
    return int(min(seconds * SECOND, NEVER))
