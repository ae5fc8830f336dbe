"""A connection with its record, and the right to use it."""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import counters
from .counters import Words

if TYPE_CHECKING:
    from .pool import Pool

Probe = Callable[[int], object]


class Entry:
    """One DB-API connection and its record; whoever leased it (or the pool) owns all fields."""

    __slots__ = (
        "backend",
        "cell",
        "cell_number",
        "connection",
        "created",
        "expires",
        "fresh",
        "generation",
        "holder",
        "leak_reported",
        "readable",
        "used",
        "uses",
    )

    def __init__(
        self,
        connection: Any,
        *,
        generation: int,
        created: int,
        expires: int,
        cell: tuple[int, Words],
        readable: Probe,
        backend: int = 0,
    ) -> None:
        """Make the record of a connection that was just opened; times are monotonic ns."""
        self.connection = connection
        self.generation = generation
        self.created = created
        self.expires = expires
        self.cell_number, self.cell = cell
        self.readable = readable
        self.backend = backend
        self.fresh = True  # opened by whoever uses it first, so known to be alive
        self.used = created
        self.uses = 0
        self.holder = 0
        self.leak_reported = False
        self.cell[counters.CREATED] = created
        self.cell[counters.BACKEND] = backend
        self.cell[counters.SINCE] = -created

    def __repr__(self) -> str:
        return f"<Entry backend={self.backend} uses={self.uses} generation={self.generation}>"


class Lease:
    """The right to use an entry until checkin; good for one checkin only."""

    __slots__ = ("connection", "entry", "pool")

    def __init__(self, entry: Entry, pool: Pool) -> None:
        """Lend an entry of a pool; only the pool makes leases."""
        self.entry: Entry | None = entry
        self.pool = pool
        self.connection = entry.connection

    def __repr__(self) -> str:
        return f"<Lease of {self.entry!r}>" if self.entry else "<Lease, checked in>"


def readable_probe(fileno: int | None) -> Probe:
    """Return a function of 0 that tells, in a fraction of a microsecond, if a socket has news.

    A server that hung up makes its socket readable, so silence means alive as far as this
    host knows.  The converse does not hold: NOTIFY, notices and TLS records make a healthy
    socket readable too, so the pool then asks the server instead of dropping it.
    """
    # Looked up now: under gevent select.poll exists only in its patched form, or not at all.
    make_poll = getattr(select, "poll", None)
    if fileno is None or make_poll is None:
        return bool  # of 0: never news
    poll = make_poll()
    poll.register(fileno, select.POLLIN | select.POLLPRI)
    probe: Probe = poll.poll  # of 0 milliseconds: a list, empty without news
    return probe
