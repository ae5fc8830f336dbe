"""A connection with its record, and the right to use it."""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import counters
from .counters import Words

if TYPE_CHECKING:
    from .pool import Pool

Probe = Callable[[], bool]


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
        "quiet",
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
        quiet: Probe,
        backend: int = 0,
    ) -> None:
        """Make the record of a connection that was just opened; times are monotonic ns."""
        self.connection = connection
        self.generation = generation
        self.created = created
        self.expires = expires
        self.cell_number, self.cell = cell
        self.quiet = quiet
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


def quiet_probe(fileno: int | None) -> Probe:
    """Return a test whether a socket has nothing to say, in a fraction of a microsecond.

    A server that hung up makes its socket readable, so silence means alive as far as this
    host knows.  The converse does not hold: NOTIFY, notices and TLS records make a healthy
    socket readable too, so the pool then asks the server instead of dropping it.
    """
    # Looked up now: under gevent select.poll exists only in its patched form, or not at all.
    make_poll = getattr(select, "poll", None)
    if fileno is None or make_poll is None:
        return _always
    poll = make_poll()
    poll.register(fileno, select.POLLIN | select.POLLPRI)
    return _PollProbe(poll.poll)


class _PollProbe:
    __slots__ = ("_poll",)

    def __init__(self, poll: Callable[[int], list[Any]]) -> None:
        self._poll = poll

    def __call__(self) -> bool:
        return not self._poll(0)


def _always() -> bool:
    return True
