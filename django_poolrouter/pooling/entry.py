"""A connection with its record, and the right to use it."""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Any, Protocol

from . import counters
from .counters import Words
from .errors import PoolError

Probe = Callable[[int], object]

# Times of expiry of an entry that must not be lent again: its pool was cleared, or it has
# served its time.
CLEARED, EXPIRED = -1, 0


class Lender(Protocol):
    """Where a lease goes back: what an entry and a lease need of their pool."""

    name: str

    def checkin(self, lease: Lease, *, broken: bool = False) -> None:
        """Take the lease back; ``broken`` closes its connection."""

    def give_up(self, lease: Lease) -> None:
        """Leave the lease to be checked in soon; takes no lock."""

    def clear(self) -> None:
        """Replace every connection."""


class Entry:
    """One DB-API connection and its record; whoever leased it (or the pool) owns all fields."""

    __slots__ = (
        "backend",
        "cell",
        "cell_number",
        "connection",
        "created",
        "expires",
        "generation",
        "has_news",
        "holder",
        "pool",
        "reported_use",
        "used",
        "uses",
    )

    def __init__(
        self,
        connection: Any,
        pool: Lender,
        *,
        generation: int,
        created: int,
        expires: int,
        has_news: Probe | None,
        backend: int = 0,
    ) -> None:
        """Make the record of a connection that was just opened; times are monotonic ns."""
        self.connection = connection
        self.pool = pool
        self.generation = generation
        self.created = created
        self.expires = expires
        self.has_news = has_news
        self.backend = backend
        self.used = created
        self.uses = 0
        self.holder = 0
        self.reported_use = 0  # the use that was reported as held too long

    def __repr__(self) -> str:
        return f"<Entry backend={self.backend} uses={self.uses} generation={self.generation}>"

    def take_cell(self, number: int, cell: Words) -> None:
        """Write the figures of this connection into a cell from now on."""
        self.cell_number = number
        self.cell = cell
        cell[counters.CREATED] = self.created
        cell[counters.BACKEND] = self.backend
        cell[counters.SINCE] = -self.created


class Lease:
    """The right to use an entry until checkin; good for one checkin only."""

    __slots__ = ("entry",)

    def __init__(self, entry: Entry) -> None:
        """Lend an entry; only its pool makes leases."""
        self.entry: Entry | None = entry

    def __repr__(self) -> str:
        return f"<Lease of {self.entry!r}>" if self.entry else "<Lease, checked in>"

    @property
    def connection(self) -> Any:
        """The DB-API connection; None after checkin."""
        return self.entry.connection if self.entry else None

    @property
    def is_cleared(self) -> bool:
        """Whether its pool was cleared since the connection was opened."""
        return self.entry is not None and self.entry.expires == CLEARED

    @property
    def pool(self) -> Lender:
        """The pool to check it in to.

        Raises:
            PoolError: it was checked in before.

        """
        if self.entry is None:
            raise PoolError("bug: the lease was checked in before")
        return self.entry.pool


def news_probe(fileno: int | None) -> Probe | None:
    """Return a function of 0 that tells in a microsecond if a socket has news; None if none can.

    A server that hung up makes its socket readable, so silence means alive as far as this
    host knows.  The converse does not hold: NOTIFY, notices and TLS records make a healthy
    socket readable too, so the pool then asks the server instead of dropping it.
    """
    # Looked up now: under gevent select.poll exists only in its patched form, or not at all.
    make_poll = getattr(select, "poll", None)
    if fileno is None or make_poll is None:
        return None
    poll = make_poll()
    poll.register(fileno, select.POLLIN | select.POLLPRI)
    probe: Probe = poll.poll  # of 0 milliseconds: a list, empty without news
    return probe
