"""Who is granted an entry or the right to open one, and all state that callers of a pool share.

Every decision that more than one caller depends on is made here, under one lock.  The lock
is held for a few microseconds at a time: nothing is opened, closed, pinged or logged here.
The pool asks, and acts on the answer afterwards.

An entry is in exactly one place: idle on the deque, leased, or granted to a waiter that
has not woken up yet.  ``match`` gives idle entries and permits to waiters.  Everything that
frees capacity calls it, so no wake-up is lost.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator

from ..sql.marks import MARKS
from . import counters
from .config import PoolConfig
from .counters import SINCE, Page, PoolStatus
from .entry import CLEARED, Entry
from .errors import PoolClosed, PoolError, PoolExhausted, PoolTimeout
from .histogram import bucket
from .waiters import PERMIT, Permit, Waiter, WaitQueue

# How many connections may be opened at the same time.  In a spike, the connections that come
# back serve most callers long before that many new ones could be opened.
MAX_OPENING = 4


class PoolState:
    """The part of a pool that its callers share.

    Args:
        name: the pool's name in messages.
        config: its options.
        page: where the figures are kept.

    """

    def __init__(self, name: str, config: PoolConfig, page: Page) -> None:
        self.name = name
        self.config = config
        self.page = page
        self._words = page.words
        self._words[counters.SIZE] = config.pool_size
        self._words[counters.MAX] = config.max

        # Guards all fields below, except where idle and is_tight say otherwise.  It is a lock
        # that knows its owner: the garbage collector may run a finalizer in the middle of a
        # method, and the finalizer may check a connection in (see is_mine).
        self.renew_lock()
        self.entries: set[Entry] = set()
        self.waiters = WaitQueue()
        self.opening = 0
        self.closing = 0  # removed, but not closed yet: they still count
        self.generation = 0
        self.closed = False
        self.connect_error: BaseException | None = None
        # Popped and appended to without the lock.
        self.idle: deque[Entry] = deque()
        # Whether checkin must do more than append to idle: callers wait, or there is overflow.
        # Read without the lock.
        self.is_tight = False

    def renew_lock(self) -> None:
        """Make the lock; a forked child replaces it with a new one."""
        self.lock = threading.RLock()
        # Tells whether this thread is in the middle of a method of this object.
        self.is_mine: Callable[[], bool] = self.lock._is_owned  # type: ignore[attr-defined]

    def status(self, now: int) -> PoolStatus:
        """Return the figures at the monotonic time ``now`` (ns)."""
        with self.lock:
            return counters.read(self._words, now)

    # -- callers who want an entry -------------------------------------------------------

    def join(self, now: int) -> Waiter:
        """Queue a new waiter, which may be granted an entry or a permit immediately.

        Raises:
            PoolClosed: the pool is closed.
            PoolExhausted: ``max_waiting`` callers already wait.

        """
        waiter = Waiter(now)
        with self.lock:
            if self.closed:
                raise PoolClosed(f"pool {self.name!r} is closed")
            self.waiters.join(waiter)
            in_line = len(self.waiters)
            if in_line == 1:
                self.match()
            else:  # others wait already, so there is nothing to grant
                self._words[counters.WAITING] = in_line
            limit = self.config.max_waiting
            if not limit or in_line <= limit or waiter.grant is not None:
                return waiter
            self.waiters.leave(waiter)
            self._note()
            self._words[counters.REFUSED] += 1
            message = (
                f"pool {self.name!r}: {limit} callers already wait, the most that max_waiting "
                f"allows; {self._figures(now)}"
            )
            cause = self.connect_error
        raise PoolExhausted(message) from cause

    def replace(self, entry: Entry, fault: int, since: int) -> Waiter:
        """Remove a faulty entry; put its caller first in the queue, so that it keeps its turn."""
        waiter = Waiter(since)
        with self.lock:
            self._remove(entry, fault)
            if self.closed:
                waiter.give(PoolClosed(f"pool {self.name!r} is closed"))
            else:
                self.waiters.join(waiter, first=True)
                self.match()
        return waiter

    def end_wait(self, waiter: Waiter, timeout: float, now: int) -> PoolError | None:
        """Count the end of a wait; return the error if nothing was granted in time."""
        waited = now - waiter.since
        with self.lock:
            self._words[counters.BUCKETS + bucket(waited)] += 1
            self._words[counters.WAITED_NS] += waited
            if waiter.grant is not None:  # perhaps at the last moment: the caller uses it
                self._words[counters.WAITS] += 1
                return None
            self.waiters.leave(waiter)
            self._note()
            self._words[counters.TIMEOUTS] += 1
            error = PoolTimeout(
                f"pool {self.name!r} (profile {self.config.profile!r}): no connection within "
                f"{timeout:g} s (waited {waited / 1e9:.1f} s); {self._figures(now)}"
            )
            error.__cause__ = self.connect_error
        return error

    def serve(self) -> None:
        """Give the waiters what is available."""
        with self.lock:
            self.match()

    def withdraw(self, waiter: Waiter) -> Entry | None:
        """Take a waiter out of the queue; return the entry that it was granted but will not use."""
        with self.lock:
            self.waiters.leave(waiter)
            grant = waiter.grant
            if isinstance(grant, Permit):
                self.opening -= 1
            self.match()
        return grant if isinstance(grant, Entry) else None

    def match(self) -> None:
        """Give idle entries, then permits, to the waiters; the caller holds the lock."""
        # Set before looking at the deque: a checkin appends to it, then looks at this flag.
        self.is_tight = True
        while self.waiters:
            try:
                entry = self.idle.pop()
            except IndexError:
                break
            self.waiters.next().give(entry)
        while self.waiters and self.may_open:
            self.opening += 1
            self.waiters.next().give(PERMIT)
        self._note()

    @property
    def is_empty(self) -> bool:
        """Tell whether no connection is open or being opened."""
        return not (self.entries or self.opening or self.closing)

    @property
    def may_open(self) -> bool:
        """Tell whether one more may be opened now; the caller holds the lock."""
        taken = len(self.entries) + self.opening + self.closing
        return self.opening < MAX_OPENING and taken < self.config.max

    def _note(self) -> None:
        """Update the flag and the figures that others read; the caller holds the lock."""
        self._note_queue()
        self._words[counters.OPENING] = self.opening

    def _note_queue(self) -> None:
        first = next(iter(self.waiters), None)
        self.is_tight = first is not None or len(self.entries) > self.config.pool_size
        self._words[counters.OLDEST_WAIT] = first.since if first else 0
        self._words[counters.WAITING] = len(self.waiters)

    def _figures(self, now: int) -> str:
        """Return the figures for an error message; the caller holds the lock."""
        status = counters.read(self._words, now)
        return (
            f"size {self.config.pool_size} + overflow {self.config.max_overflow}, "
            f"{status.checkedout} in use (longest {status.oldest_use:.1f} s), "
            f"{status.checkedin} idle, {self.opening} opening, {status.waiting} others waiting"
        )

    # -- entries are added, returned and removed ---------------------------------------------

    def add(self, entry: Entry) -> None:
        """Add an entry that was opened with a permit; the caller has it, as if leased."""
        with self.lock:
            self.opening -= 1
            self.connect_error = None
            self._words[counters.CONNECTS] += 1
            if entry.generation != self.generation:
                entry.expires = CLEARED
            entry.take_cell(*self.page.take_cell())
            self.entries.add(entry)
            self._words[counters.PEAK_OPEN] = max(
                self._words[counters.PEAK_OPEN], len(self.entries)
            )
            self.match()

    def note_failed_open(self, error: BaseException) -> None:
        """Take back the permit of a connect that failed."""
        with self.lock:
            self.opening -= 1
            self._words[counters.CONNECT_ERRORS] += 1
            self.connect_error = error
            self.match()

    def may_open_ahead(self) -> bool:
        """Take a permit to open one entry for ``min_idle``; False if none is needed or allowed."""
        config = self.config
        with self.lock:
            if self.closed or len(self.idle) >= config.min_idle or not self.may_open:
                return False
            if len(self.entries) + self.opening >= config.pool_size:
                return False
            self.opening += 1
            self._note()
            return True

    def hand_over(self, entry: Entry) -> bool:
        """Give the entry to the first waiter or to the idle ones; False if it must be closed."""
        with self.lock:
            if entry.expires == CLEARED:
                self._remove(entry, counters.CLEARED)
                return False
            if self.waiters:
                self.waiters.next().give(entry)
                self._note_queue()
            elif len(self.entries) > self.config.pool_size:
                self._remove(entry)
                return False
            else:
                self.idle.append(entry)
            return True

    def remove(self, entry: Entry, fault: int = 0) -> None:
        """Remove an entry; the caller then closes it and calls ``note_closed``.

        Until that call the entry counts against the pool's maximum.  Otherwise the server could
        see one connection too many.

        Args:
            entry: neither idle nor granted to a waiter.
            fault: the counter for the reason, or 0.

        """
        with self.lock:
            self._remove(entry, fault)

    def _remove(self, entry: Entry, fault: int = 0) -> None:
        self.entries.remove(entry)
        self.closing += 1
        self.page.free_cell(entry.cell_number)
        self._words[counters.CLOSES] += 1
        if fault:
            self._words[fault] += 1
        self._note()

    def note_closed(self) -> None:
        """Note that a removed entry's connection is closed; a waiter may open one in its place."""
        with self.lock:
            self.closing -= 1
            self.match()

    def note_reset(self, mark: str) -> None:
        """Count a session that was cleared, and what its user had left in it.

        Args:
            mark: one of ``sql.marks.MARKS``, or an empty string.

        """
        with self.lock:  # finalizers may call this in the middle of a method, so it is re-entrant
            self._words[counters.RESETS] += 1
            if mark:
                self._words[counters.MARKED + MARKS.index(mark)] += 1

    def note_unsafe_read(self) -> None:
        """Count a read that ran here only because its request was not safe."""
        with self.lock:
            self._words[counters.UNSAFE_READS] += 1

    # -- all entries -------------------------------------------------------------------------

    def clear(self, generation: int) -> None:
        """Lend no entry of this generation again; do nothing if a newer one has begun.

        When several threads find the same failure, only the first clears the pool.  The others
        must not drop the connections that were opened since.
        """
        with self.lock:
            if generation == self.generation:
                self._clear()

    def close(self) -> None:
        """Lend nothing any more; waiters get PoolClosed."""
        with self.lock:
            self.closed = True
            self._clear()
            while self.waiters:
                error = PoolClosed(f"pool {self.name!r} is closed", while_waiting=True)
                self.waiters.next().give(error)
            self._note()

    def _clear(self) -> None:
        self.generation += 1
        for entry in self.entries:
            entry.expires = CLEARED

    def take_idle(self, unwanted: Callable[[Entry], bool]) -> Iterator[Entry]:
        """Take the unwanted entries off the deque one by one, longest idle first."""
        for entry in list(self.idle):
            if unwanted(entry):
                try:
                    self.idle.remove(entry)
                except ValueError:  # leased in the meantime; its checkin tests it
                    continue
                yield entry

    def take_leaks(self, before: int) -> list[tuple[Entry, int]]:
        """Return entries whose lease began by ``before``, and when it began (monotonic ns).

        Each lease is returned only once.
        """
        found = []
        with self.lock:
            for entry in self.entries:
                since = entry.cell[SINCE]
                if 0 < since <= before and entry.reported_use != entry.uses:
                    entry.reported_use = entry.uses
                    self._words[counters.LEAKS] += 1
                    found.append((entry, since))
        return found
