"""Waits for what no event announces."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from typing import Any

LIMIT = 20.0
"""Seconds after which a test that waits has failed; far more than any test needs."""
PAUSE = 0.002


def eventually(condition: Callable[[], Any], limit: float = LIMIT) -> Any:
    """Return the first true value of a condition.

    Fails after `limit` seconds, and shows the last value and the line of the condition.
    """
    deadline = time.monotonic() + limit
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {limit} s: last {value!r}, of {_source(condition)}")
        time.sleep(PAUSE)
    return value


def _source(condition: Callable[[], Any]) -> str:
    try:
        return inspect.getsource(condition).strip()
    except (OSError, TypeError):  # code in a string, or not written in Python
        return repr(condition)
