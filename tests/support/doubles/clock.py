"""A clock that moves when it is told to."""

from __future__ import annotations

SECOND = 1_000_000_000


class ManualClock:
    """Monotonic nanoseconds; never 0, which the pool's words keep for "nothing"."""

    def __init__(self) -> None:
        self.now = 1_000 * SECOND

    def __call__(self) -> int:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        assert seconds >= 0
        self.now += round(seconds * SECOND)
