"""An entry is a connection with its record; a lease is the right to use it."""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Any, Protocol

from . import counters
from .counters import Words
from .descriptors import Descriptor
from .errors import PoolError

Probe = Callable[[int], object]

# Values of ``Entry.expires`` that keep an entry from being lent again: its pool was cleared,
# or it cannot be reset.
CLEARED, EXPIRED = -1, 0


class Lender(Protocol):
    """The pool, as far as entries and leases use it."""

    name: str

    def checkin(self, lease: Lease, *, broken: bool = False) -> None:
        """Take the lease back; ``broken`` closes its connection."""

    def renew(self, lease: Lease) -> bool:
        """Clear the session of a lease in use; False if only a new connection is neutral."""

    def give_up(self, lease: Lease) -> None:
        """Have another call check the lease in soon; takes no lock."""

    def clear(self) -> None:
        """Drop all connections: idle ones now, leased ones at checkin."""


class Entry:
    """One DB-API connection and its record; the lease's holder, or the pool, owns all fields."""

    __slots__ = (
        "backend",
        "cell",
        "cell_number",
        "connection",
        "created",
        "descriptor",
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
        descriptor: Descriptor | None = None,
        backend: int = 0,
    ) -> None:
        """Record a connection that was just opened; times are monotonic ns."""
        self.connection = connection
        self.pool = pool
        self.generation = generation
        self.created = created
        self.expires = expires
        self.has_news = has_news
        self.descriptor = descriptor
        self.backend = backend
        self.used = created
        self.uses = 0
        self.holder = 0
        self.reported_use = 0  # the value of ``uses`` when a leak was last reported

    def __repr__(self) -> str:
        return f"<Entry backend={self.backend} uses={self.uses} generation={self.generation}>"

    def take_cell(self, number: int, cell: Words) -> None:
        """Write the figures of this connection into ``cell`` from now on."""
        self.cell_number = number
        self.cell = cell
        cell[counters.CREATED] = self.created
        cell[counters.BACKEND] = self.backend
        cell[counters.SINCE] = -self.created


class Lease:
    """The right to use an entry until checkin; it can be checked in only once."""

    __slots__ = ("entry",)

    def __init__(self, entry: Entry) -> None:
        """Lend ``entry``; only its pool does this."""
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
        """The pool that takes the lease back.

        Raises:
            PoolError: the lease is already checked in.

        """
        if self.entry is None:
            raise PoolError("bug: the lease is already checked in")
        return self.entry.pool


def news_probe(fileno: int | None) -> Probe | None:
    """Return a function that checks a socket for news in a microsecond; None if that is impossible.

    Call it with 0, the milliseconds to wait.  A true result means that the socket is readable.

    A server that hung up makes its socket readable.  So a socket without news means that the
    connection is alive, as far as this host knows.  The converse does not hold: NOTIFY, notices
    and TLS records make a healthy socket readable too.  The pool then pings the server and does
    not just drop the connection.
    """
    # Looked up at each call: gevent replaces select.poll, or removes it.
    make_poll = getattr(select, "poll", None)
    if fileno is None or make_poll is None:
        return None
    poll = make_poll()
    poll.register(fileno, select.POLLIN | select.POLLPRI)
    probe: Probe = poll.poll  # poll(0) returns a list, which is empty without news
    return probe
