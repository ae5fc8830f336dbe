"""Threads that cannot hang a test, and whose end is asked for what they did."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from tests.support.waiting import LIMIT


class Task(threading.Thread):
    """A thread that keeps the result or the exception of what it ran."""

    def __init__(self, work: Callable[..., Any], *args: Any) -> None:
        super().__init__(daemon=True, name=f"task-{getattr(work, '__name__', 'work')}")
        self._work = work
        self._args = args
        self._result: Any = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._result = self._work(*self._args)
        except BaseException as error:
            self._error = error

    def finished(self, limit: float = LIMIT) -> Task:
        """Wait for the end, and return self."""
        self.join(limit)
        assert not self.is_alive(), f"{self.name} hangs"
        return self

    def result(self) -> Any:
        """Wait for the end; return what the work returned, or raise what it raised."""
        self.finished()
        if self._error is not None:
            raise self._error
        return self._result

    def error(self) -> BaseException | None:
        """Wait for the end; return what the work raised, or None."""
        self.finished()
        return self._error
