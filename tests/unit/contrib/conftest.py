"""A token cache with clocks that the test moves, and a service that it stops."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from django_poolrouter.contrib.tokens import TokenCache
from tests.support.doubles import Gate, Task
from tests.support.waiting import LIMIT

NOW = datetime(2026, 5, 9, 12, tzinfo=UTC).timestamp()
SECRET = "s3cret-of-the-vault"


class Clocks:
    """A wall clock and a monotonic clock that move when they are told to."""

    def __init__(self) -> None:
        self.wall = NOW
        self.steady = 1_000.0

    def advance(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


class Service:
    """Hands out tokens, or fails; calls ``on_fetch`` before each answer."""

    def __init__(self) -> None:
        self.calls = 0
        self.error: BaseException | None = None
        self.errors: dict[int, BaseException] = {}
        """By the number of the call."""
        self.on_fetch: Callable[[], Any] = int

    def fetch(self) -> str:
        self.calls += 1
        number = self.calls
        self.on_fetch()
        error = self.errors.get(number, self.error)
        if error is not None:
            raise error
        return f"{SECRET}-{number}"


class WaitingRoom(threading.Condition):
    """Counts the threads that begin to wait for a refresh."""

    def __init__(self) -> None:
        super().__init__()
        self._arrivals = threading.Semaphore(0)

    def wait(self, timeout: float | None = None) -> bool:
        self._arrivals.release()  # with the lock held: no refresh ends before this thread waits
        return super().wait(timeout)

    def expect(self, threads: int) -> None:
        """Return when so many threads wait."""
        for _ in range(threads):
            assert self._arrivals.acquire(timeout=LIMIT), "a thread did not wait"


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def make(clocks: Clocks, service: Service) -> Callable[..., TokenCache]:
    """Make a cache with these clocks, for the service and tokens that live for 900 s."""

    def make(
        fetch: Callable[[], Any] = service.fetch, lifetime: float | None = 900, **options: Any
    ) -> TokenCache:
        return TokenCache(
            fetch,
            lifetime,
            clock=lambda: clocks.wall,
            steady=lambda: clocks.steady,
            **options,
        )

    return make


@pytest.fixture
def cache(make: Callable[..., TokenCache]) -> TokenCache:
    return make()


def token(number: int) -> str:
    return f"{SECRET}-{number}"


def watch_waiters(cache: TokenCache) -> WaitingRoom:
    room = cache._state.changed = WaitingRoom()
    return room


@contextmanager
def refreshing(cache: TokenCache, service: Service) -> Iterator[Task]:
    """Run a block while another thread refreshes the token; it must have none or an old one."""
    gate = Gate()
    service.on_fetch = gate
    task = Task(cache)
    gate.wait_for()
    try:
        yield task
    finally:
        service.on_fetch = int
        gate.open()
        task.finished()
