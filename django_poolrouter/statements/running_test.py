"""What the running test of a project may use: the aliases that its ``databases`` lists."""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper


def may_use(alias: str) -> bool:
    """Tell whether the running test may use an alias; True if none of Django's tests runs."""
    # Production seldom imports it, and this runs for each read.
    if "django.test.testcases" not in sys.modules:
        return True
    listed = _listed()
    return listed is None or alias in listed


def is_running() -> bool:
    """Tell whether one of Django's tests runs."""
    return "django.test.testcases" in sys.modules and _listed() is not None


def _listed() -> Collection[str] | None:
    """Return the aliases that the running test lists; None if no test runs."""
    # While a test runs, its class replaces this method to refuse other aliases, in all threads.
    # Nothing else tells which test runs.
    method: Any = BaseDatabaseWrapper.ensure_connection
    code = getattr(method, "__code__", None)
    if code is None or "cls" not in code.co_freevars:
        return None
    listed: Collection[str] = method.__closure__[
        code.co_freevars.index("cls")
    ].cell_contents.databases
    return listed
