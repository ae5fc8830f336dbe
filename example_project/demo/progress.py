"""The bar that shows how far the traffic is."""

import time
from collections.abc import Callable
from typing import Self

from tqdm import tqdm

from example_project.demo.traffic import Tally


class Progress:
    """Follows a tally for so many seconds; shows a bar where the output is a terminal."""

    def __init__(self, tally: Tally, seconds: float) -> None:
        self._tally = tally
        self._seconds = seconds

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        form = "{l_bar}{bar}| {n:.1f}/{total:.0f} s{postfix}"
        self._bar = tqdm(total=self._seconds, bar_format=form, disable=None)
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._began

    def follow(self, until: Callable[[], bool]) -> None:
        """Return when the condition holds."""
        while not until():
            self._bar.n = min(self.elapsed, self._seconds)
            self._bar.set_postfix(requests=self._tally.requests, failed=len(self._tally.errors))
            time.sleep(0.1)
