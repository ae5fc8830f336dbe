"""Threads of which one runs at a time, and only as far as it is told to.

A pool whose lock, clock, deque, waiters and driver come from here hands control back to
the test wherever another thread could run in between, so that the test decides what
happens next: the same decisions give the same run, whatever the machine is doing.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any

from django_poolrouter.pooling.waiters import Waiter, WaitQueue
from tests.support.doubles.clock import ManualClock
from tests.support.doubles.connector import ConnectFailed, FakeConnection, FakeConnector, Killed
from tests.support.waiting import LIMIT

SWITCH = "switch"
END = "end"


class Caller(threading.Thread):
    """One user of the pool.

    ``point`` says where it stopped: at a ``SWITCH`` between two instructions, where the
    driver was called ("open", "close", "ping", "reset"), where it waits in the queue
    ("wait"), where its work stops ("hold"), or at its ``END``.
    """

    def __init__(self, work: Callable[[Caller], Any]) -> None:
        super().__init__(daemon=True)
        self.point = "start"
        self.waiter: ScriptedWaiter | None = None
        self.result: Any = None
        self.error: BaseException | None = None
        self._work = work
        self._outcome = ""
        self._switches = 0
        self._dismissed = False
        # Raw locks as semaphores: many times faster, and they are all that takes time here.
        self._go = threading.Lock()
        self._go.acquire()
        self._parked = threading.Lock()
        self._parked.acquire()
        self.start()

    @property
    def can_go_on(self) -> bool:
        """Tell whether it need not wait for others."""
        return self.point not in ("wait", END) or (
            self.waiter is not None and self.waiter.grant is not None and self.point != END
        )

    def step(self, outcome: str, switches: int = 1_000_000) -> None:
        """Let it go on, past so many switches, until it stops again.

        Args:
            outcome: what comes of the point where it stopped.
            switches: how many chances for others to run are passed over.

        """
        self._outcome = outcome
        self._switches = switches
        self._go.release()
        assert self._parked.acquire(timeout=LIMIT), f"a caller hangs after {self.point}"

    def dismiss(self) -> None:
        """Let the thread end, whatever it is doing: the test has failed."""
        self._dismissed = True
        self._go.release()

    def run(self) -> None:
        try:
            self._wait_for_step()
            self.result = self._work(self)
        except BaseException as error:
            self.error = error
        self.point = END
        if not self._dismissed:
            self._parked.release()

    def stop_at(self, point: str) -> str:
        """Stop here; return the outcome that the test chose."""
        if point == SWITCH and self._switches and not self._dismissed:
            self._switches -= 1
            return ""
        self.point = point
        if not self._dismissed:
            self._parked.release()
        return self._wait_for_step()

    def _wait_for_step(self) -> str:
        if self._dismissed or not self._go.acquire(timeout=3 * LIMIT) or self._dismissed:
            raise SystemExit
        return self._outcome


def stop_at(point: str, outcome: str) -> str:
    """Stop the caller that runs this; the test itself goes on with the given outcome."""
    caller = threading.current_thread()
    return caller.stop_at(point) if isinstance(caller, Caller) else outcome


class SwitchingLock:
    """A lock before which others may run; while it is held nobody else does."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self.switch()
        assert self._lock.acquire(blocking=False), "held at a point where others run"

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()

    def _is_owned(self) -> bool:
        return False  # no finalizer runs in these tests

    def switch(self) -> None:
        """Let others run, unless the lock is held."""
        if not self._lock.locked():
            stop_at(SWITCH, "")


class SwitchingClock(ManualClock):
    """A clock that others may run before."""

    def __init__(self, lock: SwitchingLock) -> None:
        super().__init__()
        self._lock = lock

    def __call__(self) -> int:
        self._lock.switch()
        return super().__call__()


class SwitchingDeque(deque[Any]):
    """A deque around whose atomic operations others may run."""

    lock: SwitchingLock

    def pop(self) -> Any:  # type: ignore[override]
        self.lock.switch()
        item = super().pop()
        self.lock.switch()
        return item

    def append(self, item: Any) -> None:
        self.lock.switch()
        super().append(item)
        self.lock.switch()

    def remove(self, item: Any) -> None:
        self.lock.switch()
        super().remove(item)


class ScriptedWaiter(Waiter):
    """A waiter that waits as long as the test says."""

    __slots__ = ()

    def wait(self, timeout: float) -> bool:
        caller = threading.current_thread()
        if not isinstance(caller, Caller):
            return super().wait(timeout)
        caller.waiter = self
        outcome = caller.stop_at("wait")
        if outcome == "killed":
            raise Killed
        return outcome == "granted"


class WatchedQueue(WaitQueue):
    """A queue beside a plain list that says what the order has to be."""

    __slots__ = ("order",)

    def __init__(self) -> None:
        super().__init__()
        self.order: list[Waiter] = []

    def join(self, waiter: Waiter, *, first: bool = False) -> None:
        self.order.insert(0 if first else len(self.order), waiter)
        super().join(waiter, first=first)

    def leave(self, waiter: Waiter) -> None:
        if waiter in self.order:
            self.order.remove(waiter)
        super().leave(waiter)

    def next(self) -> Waiter:
        waiter = super().next()
        assert waiter is self.order.pop(0), "somebody was served before his turn"
        assert waiter.grant is None
        return waiter


class ScriptedConnector(FakeConnector):
    """A driver whose every answer the test gives."""

    def __init__(self) -> None:
        super().__init__()
        self.on_open = lambda: self._answer("open")
        self.on_close = lambda _: self._answer("close")
        self.on_reset = lambda _: self._answer("reset")
        self.on_fileno = lambda _: self._answer("fileno")

    def ping(self, connection: FakeConnection, timeout: float) -> bool:
        self._check_open(connection, "pinged")
        self.pinged.append(connection)
        return self._answer("ping") != "dead"

    def _answer(self, point: str) -> str:
        outcome = stop_at(point, "ok")
        if outcome == "failed":
            raise ConnectFailed(point)
        if outcome == "killed":
            raise Killed
        return outcome
