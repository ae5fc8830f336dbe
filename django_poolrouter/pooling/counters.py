"""The figures of a pool, as 64-bit words in memory that another process may read.

A pool writes its figures into a ``Page``.  By default that is private memory; a higher
layer may pass in a file that other processes read.  Each word has one writer at a time:
the thread that holds the pool's lock, or the owner of the entry.  A word is stored whole,
so a reader in another process never sees half a value.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from ..sql.marks import MARKS
from .config import PoolConfig
from .histogram import WAIT_BUCKETS, quantile

POOL_WORDS = 56  # a few are spare
CELL_WORDS = 8

# Words of the pool, written under the pool's lock.
(
    SIZE,
    MAX,
    WAITING,
    OLDEST_WAIT,  # monotonic ns at which the first waiter began to wait, or 0
    OPENING,
    CHECKOUTS,  # of closed connections; open ones keep their own count
    WAITS,
    WAITED_NS,
    TIMEOUTS,
    REFUSED,
    CONNECTS,
    CONNECT_ERRORS,
    CLOSES,
    LOST,  # found dead before or during use
    RECYCLED,  # closed because of age or idleness, or because they cannot be reset
    LEAKS,
    CLEARED,
    PEAK_OPEN,
    RESETS,  # sessions cleared
    UNSAFE_READS,
    BUCKETS,  # the first of WAIT_BUCKETS words: waits by their length
) = range(21)
# The first of the words that higher layers write: what they know about the pool's server.
NOTES = BUCKETS + WAIT_BUCKETS
# The first of the words that count marked leases, one for each of MARKS.
MARKED = POOL_WORDS - len(MARKS)

# Words of one entry, its cell.
(
    SINCE,  # monotonic ns: leased since then; if negative, idle since -SINCE; 0: no entry
    CREATED,
    USES,
    THREAD,
    BACKEND,  # the server's id of the session
) = range(5)

Words = memoryview  # of 64-bit integers


class Page:
    """The words of one pool and its cells, one for each connection that can be open."""

    __slots__ = ("_free", "words")

    def __init__(self, words: Words) -> None:
        """Use ``words``, which has ``words_needed(max)`` words; its counters continue."""
        self.words = words
        cells = (len(words) - POOL_WORDS) // CELL_WORDS
        self._free = [POOL_WORDS + CELL_WORDS * index for index in reversed(range(cells))]

    @classmethod
    def private(cls, maximum: int) -> Page:
        """Return a page that only this process can read."""
        return cls(memoryview(bytearray(8 * words_needed(maximum))).cast("q"))

    def take_cell(self) -> tuple[int, Words]:
        """Return a free cell and its number; the caller holds the pool's lock."""
        start = self._free.pop()
        return start, self.words[start : start + CELL_WORDS]

    def free_cell(self, start: int) -> None:
        """Give a cell back, with its uses added to the pool's; the caller holds the lock."""
        words = self.words
        words[CHECKOUTS] += words[start + USES]
        for index in range(start, start + CELL_WORDS):
            words[index] = 0
        self._free.append(start)


def words_needed(maximum: int) -> int:
    """Return how many words a pool of up to ``maximum`` connections needs."""
    return POOL_WORDS + CELL_WORDS * maximum


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """A pool's figures at one moment; counters count from the start of the process."""

    size: int
    """The most connections that stay open after checkin (pool_size)."""
    max: int
    """The most connections open at once (size + max_overflow)."""
    open: int
    """Open connections; always checkedin + checkedout."""
    checkedin: int
    """Idle connections."""
    checkedout: int
    """Leased connections."""
    overflow: int
    """Open connections above size."""
    waiting: int
    """Callers that wait for a connection."""
    opening: int = 0
    """Connections being opened."""
    oldest_wait: float = 0.0
    """Seconds that the first waiter has waited."""
    oldest_use: float = 0.0
    """Seconds that the longest current lease has lasted."""
    checkouts: int = 0
    """Leases given."""
    waits: int = 0
    """Leases that their callers had to wait for."""
    waited: float = 0.0
    """Seconds that all callers together waited, timeouts included."""
    timeouts: int = 0
    """Callers that got no connection in time."""
    refused: int = 0
    """Callers refused because of max_waiting."""
    connects: int = 0
    """Connections opened."""
    connect_errors: int = 0
    """Connections that could not be opened."""
    closes: int = 0
    """Connections closed, for any reason."""
    lost: int = 0
    """Connections found dead."""
    recycled: int = 0
    """Connections closed because of age or idleness, or because they cannot be reset."""
    cleared: int = 0
    """Connections closed because the pool was cleared or closed."""
    leaks: int = 0
    """Leases reported as leaks."""
    peak_open: int = 0
    """The most connections that were open at once."""
    resets: int = 0
    """Sessions cleared, or given up because only a new connection is neutral."""
    unsafe_reads: int = 0
    """Reads that ran on this primary only because their request was not safe (UNSAFE_METHODS)."""
    marks: tuple[int, ...] = (0,) * len(MARKS)
    """Leases whose user left something in the session, which checkin cleared: one count for each
    of ``sql.marks.MARKS``."""
    wait_buckets: tuple[int, ...] = (0,) * WAIT_BUCKETS
    """Waits by length, timeouts included: one count for each bound in WAIT_BOUNDS, and one for
    longer waits."""

    @property
    def marked(self) -> int:
        """Leases whose user left something in the session."""
        return sum(self.marks)

    @property
    def p95_wait(self) -> float:
        """Seconds within which 95 % of the callers were served or timed out.

        Most callers do not wait at all; they count too.  The value is never too low, and at
        most 2.5 times too high.
        """
        return quantile(0.95, self.wait_buckets, max(0, self.checkouts - self.waits))

    @classmethod
    def unopened(cls, config: PoolConfig | None = None) -> PoolStatus:
        """Return the figures of a pool that is not open yet, or of no pool."""
        size, most = (config.pool_size, config.max) if config else (0, 0)
        return cls(size=size, max=most, open=0, checkedin=0, checkedout=0, overflow=0, waiting=0)


# Figures that only grow while a process lives, and stay true after its end.
COUNTERS = (
    *("checkouts", "waits", "waited", "wait_buckets", "timeouts", "refused"),
    *("connects", "connect_errors", "closes", "lost", "recycled", "cleared", "leaks"),
    *("resets", "marks", "unsafe_reads"),
)


def add(statuses: Iterable[PoolStatus]) -> PoolStatus:
    """Return the sum of each figure, or the maximum of each age, of at least one status."""
    statuses = list(statuses)
    sums: dict[str, Any] = {}
    for field in fields(PoolStatus):
        values = [getattr(status, field.name) for status in statuses]
        if field.name in ("wait_buckets", "marks"):
            sums[field.name] = tuple(map(sum, zip(*values, strict=True)))
        else:
            sums[field.name] = (max if field.name.startswith("oldest") else sum)(values)
    return PoolStatus(**sums)


def read(words: Iterable[int], now: int) -> PoolStatus:
    """Return the status in ``words`` at the monotonic time ``now`` (ns); works in any process."""
    values = list(words)
    since = values[POOL_WORDS + SINCE :: CELL_WORDS]
    leased = [at for at in since if at > 0]
    idle = sum(1 for at in since if at < 0)
    is_open = len(leased) + idle
    waiting = values[WAITING]
    return PoolStatus(
        size=values[SIZE],
        max=values[MAX],
        open=is_open,
        checkedin=idle,
        checkedout=len(leased),
        overflow=max(0, is_open - values[SIZE]),
        waiting=waiting,
        opening=values[OPENING],
        oldest_wait=_age(values[OLDEST_WAIT], now) if waiting else 0.0,
        oldest_use=_age(min(leased), now) if leased else 0.0,
        checkouts=values[CHECKOUTS] + sum(values[POOL_WORDS + USES :: CELL_WORDS]),
        waits=values[WAITS],
        waited=values[WAITED_NS] / 1e9,
        timeouts=values[TIMEOUTS],
        refused=values[REFUSED],
        connects=values[CONNECTS],
        connect_errors=values[CONNECT_ERRORS],
        closes=values[CLOSES],
        lost=values[LOST],
        recycled=values[RECYCLED],
        cleared=values[CLEARED],
        leaks=values[LEAKS],
        peak_open=values[PEAK_OPEN],
        resets=values[RESETS],
        unsafe_reads=values[UNSAFE_READS],
        marks=tuple(values[MARKED:POOL_WORDS]),
        wait_buckets=tuple(values[BUCKETS : BUCKETS + WAIT_BUCKETS]),
    )


def _age(since: int, now: int) -> float:
    return max(0, now - since) / 1e9 if since else 0.0
