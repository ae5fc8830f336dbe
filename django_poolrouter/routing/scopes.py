"""A scope remembers what a request, task or thread did that decides where its next reads go."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import wraps
from inspect import iscoroutinefunction
from typing import ParamSpec, Protocol, TypeVar

from .positions import Position

P = ParamSpec("P")
T = TypeVar("T")


class Transaction(Protocol):
    """A transaction that wrote, as a scope sees it."""

    @property
    def goes_on(self) -> bool:
        """Tell whether the transaction is still open, so that it commits the write later."""


class Scope:
    """The memory of one request, task, ``with scope():`` block, thread or async context.

    A scope is mutable and may be shared by the threads and tasks that work for one
    request: a ContextVar alone would not show a child's writes to its parent.  Its
    operations are single dict and set operations, which the interpreter makes atomic.

    Args:
        sticky: keep one replica per cluster, so that a request does not read old rows from one
            replica after it read newer rows from another.
        clock: returns monotonic seconds.

    """

    __slots__ = (
        *("_choices", "_clock", "_open", "_pins", "_unsafe_reads"),
        *("brought", "chosen", "is_unsafe", "positions", "sticky", "wrote"),
    )

    def __init__(self, *, sticky: bool = True, clock: Callable[[], float] = time.monotonic) -> None:
        self.sticky = sticky
        self.wrote: set[str] = set()
        """The clusters that it wrote to."""
        self.positions: dict[str, tuple[Position, float]] = {}
        """The position that reads of each cluster must see, and the Unix time of the write."""
        self.brought: dict[str, float] = {}
        """The Unix time until which each cluster is pinned by what an earlier scope handed on.

        Other scopes may still commit something until then.
        """
        self.chosen: set[str] = set()
        """All aliases that its reads were sent to.

        A query on another alias runs there because the caller named that alias, with ``using()``
        for example.  A query on one of these may also have been named.
        """
        self.is_unsafe = False
        """Whether it is the scope of a request that may change something, such as a POST."""
        self._clock = clock
        self._choices: dict[str, str] = {}
        self._pins: dict[str, float] = {}
        self._open: dict[str, set[Transaction]] = {}
        self._unsafe_reads: set[str] = set()

    def pin(self, cluster: str, seconds: float) -> None:
        """Keep reads of a cluster on its primary for some seconds; never shorten a pin."""
        until = self._clock() + seconds
        self._pins[cluster] = max(until, self._pins.get(cluster, until))

    def note_write(self, cluster: str, seconds: float, transaction: Transaction) -> None:
        """Remember a write; in a transaction, the pin starts to run when the transaction ends."""
        self.wrote.add(cluster)
        if transaction.goes_on:
            self._open.setdefault(cluster, set()).add(transaction)
        else:
            self.pin(cluster, seconds)

    def take_over(self, inner: Scope, cluster: str, seconds: float) -> None:
        """Count the writes of a scope that ran inside this one as writes of this one.

        Args:
            inner: the scope that ran inside, at its end.
            cluster: the alias of the cluster's primary.
            seconds: for how long a write pins.

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
            cluster: the alias of the cluster's primary.
            seconds: for how long a write pins.  An open transaction that wrote, or one that has
                ended since the last call, pins from now on.

        """
        if not self._pins and not self._open:  # true of most scopes, and this runs for each query
            return 0.0
        open_ones = self._open.get(cluster)
        if open_ones:
            self._extend_pins(cluster, open_ones, seconds)
        until = self._pins.get(cluster)
        if until is None:
            return 0.0
        return max(0.0, until - self._clock())

    def is_writing(self, cluster: str) -> bool:
        """Tell whether a transaction that wrote to the cluster is still open."""
        # Use a copy: other threads of the scope may add transactions meanwhile.
        open_ones = list(self._open.get(cluster, ()))
        return any(transaction.goes_on for transaction in open_ones)

    def _extend_pins(self, cluster: str, transactions: set[Transaction], seconds: float) -> None:
        """Pin from now on, because it is not known when these transactions ended or will end."""
        self.pin(cluster, seconds)
        for transaction in list(transactions):
            if not transaction.goes_on:
                transactions.discard(transaction)

    def choice(self, cluster: str) -> str | None:
        """Return the replica for the next read of the cluster; None if none is chosen yet."""
        return self._choices.get(cluster)

    def choose(self, cluster: str, alias: str) -> str:
        """Choose the replica for the next read, unless one is chosen; return the chosen one.

        Django asks its routers twice for ``iterator()``, ``in_bulk()`` and reverse managers.  So
        a choice must last until a query runs, not until the next question.
        """
        chosen = self._choices.setdefault(cluster, alias)
        self.chosen.add(chosen)
        return chosen

    def drop_choice(self, cluster: str) -> None:
        """Forget the chosen replica, so that the next read chooses again."""
        self._choices.pop(cluster, None)

    def note_read(self, cluster: str) -> None:
        """Note that a query ran on the chosen replica; a scope that is not sticky forgets it."""
        if not self.sticky:
            self.drop_choice(cluster)

    def note_unsafe_read(self, cluster: str) -> None:
        """Note that the next query of a cluster runs on its primary because of the request."""
        self._unsafe_reads.add(cluster)

    def took_unsafe_read(self, cluster: str) -> bool:
        """Tell whether ``note_unsafe_read`` announced the query that ran; forget that it did.

        Django asks its routers twice for some queries, so their questions cannot be counted.
        """
        if cluster not in self._unsafe_reads:
            return False
        self._unsafe_reads.discard(cluster)
        return True


_current: ContextVar[Scope | None] = ContextVar("poolrouter_scope", default=None)


def current_scope() -> Scope:
    """Return the current scope; a thread or async context without one gets its own."""
    scope = _current.get()
    if scope is None:
        scope = Scope(sticky=False)
        _current.set(scope)
    return scope


def carry_scope(function: Callable[P, T]) -> Callable[P, T]:
    """Return a function that runs in the scope of this moment, for a thread that you start.

    Use it where you start the thread: ``executor.submit(carry_scope(work), 1)``.  What the thread
    writes, the scope reads, and the user's next request too if the thread ends before the request
    does.  Blocks such as ``using_primary()`` are carried along.  Several threads may run the
    function at the same time.

    Raises:
        TypeError: the function is a coroutine function.  Tasks have the scope by themselves.

    """
    if iscoroutinefunction(function):
        name = getattr(function, "__qualname__", function)
        raise TypeError(
            f"carry_scope() takes a function that a thread runs, not the coroutine function {name}."
            " Tasks and asyncio.to_thread() have the scope without it."
        )
    current_scope()  # so that there is one to carry
    context = copy_context()

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        # Two threads cannot be in one context, so each has a copy.  The scope is the same object.
        return context.copy().run(function, *args, **kwargs)

    return run


@contextmanager
def scope(scope: Scope | None = None) -> Iterator[Scope]:
    """Run a block, such as one task of a worker, in a scope of its own."""
    entered = Scope() if scope is None else scope
    # No ContextVar token: a streamed response may leave the scope in another context than the one
    # where it entered, and a token is valid in its own context only.
    before = _current.get()
    _current.set(entered)
    try:
        yield entered
    finally:
        _current.set(before)


def iterate_in(entered: Scope, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Produce each chunk in the given scope, and yield it in the caller's scope."""
    while True:
        with scope(entered):
            try:
                chunk = next(chunks)
            except StopIteration:
                return
        yield chunk


async def aiterate_in(entered: Scope, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Do the same as ``iterate_in`` for an asynchronous iterator."""
    while True:
        with scope(entered):
            try:
                chunk = await anext(chunks)
            except StopAsyncIteration:
                return
        yield chunk
