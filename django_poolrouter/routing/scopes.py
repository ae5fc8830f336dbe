"""What one request, task or thread did that matters for where its next reads go."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from .positions import Position


class Transaction(Protocol):
    """What a scope asks of the transaction that wrote: whether it still goes on."""

    @property
    def goes_on(self) -> bool:
        """Tell whether what was written is to be committed later."""


class Scope:
    """The memory of one request, task, ``with scope():`` block, thread or async context.

    A scope is mutable and may be shared by the threads and tasks that work for one
    request: a ContextVar alone would not show a child's writes to its parent.  Its
    operations are single dict and set operations, which the interpreter makes atomic.

    Args:
        sticky: keep one replica per cluster, so that a request does not see time go
            backwards between two replicas.
        clock: monotonic seconds.

    """

    __slots__ = (
        *("_choices", "_clock", "_open", "_pins"),
        *("brought", "chosen", "positions", "sticky", "wrote"),
    )

    def __init__(self, *, sticky: bool = True, clock: Callable[[], float] = time.monotonic) -> None:
        self.sticky = sticky
        self.wrote: set[str] = set()
        """The clusters that it wrote to."""
        self.positions: dict[str, tuple[Position, float]] = {}
        """What its reads must see of clusters, and when (Unix time) that was written."""
        self.brought: dict[str, float] = {}
        """Until when (Unix time) it pins clusters for what others may yet commit."""
        self.chosen: set[str] = set()
        """The aliases that its reads were ever sent to.  What runs on another was named
        outright, by ``using()`` say; what runs on one of these may have been, too."""
        self._clock = clock
        self._choices: dict[str, str] = {}
        self._pins: dict[str, float] = {}
        self._open: dict[str, set[Transaction]] = {}

    def pin(self, cluster: str, seconds: float) -> None:
        """Keep reads of a cluster on its primary for so long, or longer if already pinned."""
        until = self._clock() + seconds
        self._pins[cluster] = max(until, self._pins.get(cluster, until))

    def note_write(self, cluster: str, seconds: float, transaction: Transaction) -> None:
        """Remember a write; inside a transaction the pin starts to run when it has ended."""
        self.wrote.add(cluster)
        if transaction.goes_on:
            self._open.setdefault(cluster, set()).add(transaction)
        else:
            self.pin(cluster, seconds)

    def take_over(self, inner: Scope, cluster: str, seconds: float) -> None:
        """Count as written here what another scope wrote that ran within this one.

        Args:
            inner: that scope, at its end.
            cluster: its primary's alias.
            seconds: as for ``pinned_for``.

        """
        if cluster not in inner.wrote:
            return
        self.wrote.add(cluster)
        self.pin(cluster, inner.pinned_for(cluster, seconds))
        if going_on := inner._open.get(cluster):
            self._open.setdefault(cluster, set()).update(going_on)

    def pinned_for(self, cluster: str, seconds: float) -> float:
        """Return for how many seconds more reads stay on the primary; 0.0 if they need not.

        Args:
            cluster: its primary's alias.
            seconds: how long a write pins, for transactions that ended since.

        """
        if not self._pins and not self._open:  # most scopes, and asked for each query
            return 0.0
        open_ones = self._open.get(cluster)
        if open_ones:
            self._extend_pins(cluster, open_ones, seconds)
        until = self._pins.get(cluster)
        if until is None:
            return 0.0
        return max(0.0, until - self._clock())

    def is_writing(self, cluster: str) -> bool:
        """Tell whether a transaction that wrote to the cluster still goes on."""
        # A copy: other threads of the scope may begin to write meanwhile.
        open_ones = list(self._open.get(cluster, ()))
        return any(transaction.goes_on for transaction in open_ones)

    def _extend_pins(self, cluster: str, transactions: set[Transaction], seconds: float) -> None:
        """Pin for each transaction that wrote: when it ended is not known, so from now on."""
        self.pin(cluster, seconds)
        for transaction in list(transactions):
            if not transaction.goes_on:
                transactions.discard(transaction)

    def choice(self, cluster: str) -> str | None:
        """Return the replica that the next read of the cluster goes to, if it is settled."""
        return self._choices.get(cluster)

    def choose(self, cluster: str, alias: str) -> str:
        """Settle the replica.

        Django asks its routers twice for ``iterator()``, ``in_bulk()`` and reverse
        managers, so a turn must not pass with a question, only with a query.
        """
        settled = self._choices.setdefault(cluster, alias)
        self.chosen.add(settled)
        return settled

    def drop_choice(self, cluster: str) -> None:
        """Let the next read choose again: the replica is no longer to be had."""
        self._choices.pop(cluster, None)

    def note_read(self, cluster: str) -> None:
        """A query ran on the chosen replica: outside a sticky scope the turn is over."""
        if not self.sticky:
            self.drop_choice(cluster)


_current: ContextVar[Scope | None] = ContextVar("poolrouter_scope", default=None)


def current_scope() -> Scope:
    """Return the scope in force; a thread or async context without one gets its own."""
    scope = _current.get()
    if scope is None:
        scope = Scope(sticky=False)
        _current.set(scope)
    return scope


@contextmanager
def scope(scope: Scope | None = None) -> Iterator[Scope]:
    """Run a block, such as one task of a worker, in a scope of its own."""
    entered = Scope() if scope is None else scope
    # No token: a streamed response may leave the scope in another context than it entered.
    before = _current.get()
    _current.set(entered)
    try:
        yield entered
    finally:
        _current.set(before)


def iterate_in(entered: Scope, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Produce each chunk in the given scope, and hand it out in the caller's."""
    while True:
        with scope(entered):
            try:
                chunk = next(chunks)
            except StopIteration:
                return
        yield chunk


async def aiterate_in(entered: Scope, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """As ``iterate_in``, for an asynchronous iterator."""
    while True:
        with scope(entered):
            try:
                chunk = await anext(chunks)
            except StopAsyncIteration:
                return
        yield chunk
