"""Checks of settings, and reports of wrong ones, for the options of pools and of the router.

A check takes a value and returns it in the form in which it is used, or raises ValueError.
The error says what would be right, and may have a hint as its second argument.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

Check = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Problem:
    """One wrong setting: where it is, what is wrong and what to write instead."""

    where: str
    text: str
    hint: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, (f"{self.where}: {self.text}", self.hint)))


class ConfigError(ValueError):
    """The settings cannot be used; carries all problems, not only the first."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def integer(minimum: int = 0) -> Check:
    """Accept a whole number of at least ``minimum``, but not True or False."""

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            raise ValueError(f"must be a whole number, at least {minimum}")
        return value

    return check


def seconds(*, optional: bool = False, above_zero: bool = False) -> Check:
    """Accept a finite number of seconds, and None if ``optional``."""
    wanted = "must be a number of seconds " + ("above 0" if above_zero else "of at least 0")

    def check(value: Any) -> float | None:
        if value is None and optional:
            return None
        number = isinstance(value, int | float) and not isinstance(value, bool)
        # Not math.isfinite(): it fails on whole numbers that are too large for a float.
        if not number or not 0 <= value <= sys.float_info.max or (above_zero and value == 0):
            raise ValueError(wanted + (" or None" if optional else ""))
        return float(value)

    return check


def boolean(value: Any) -> bool:
    """Accept only True and False; the string "false" would count as true."""
    if not isinstance(value, bool):
        raise ValueError("must be True or False")
    return value


def text(value: Any) -> str | None:
    """Accept a string, and None for the default."""
    if value is not None and not isinstance(value, str):
        raise ValueError("must be a string")
    return value


def folder(value: Any) -> Any:
    """Accept an absolute path, and None; a relative path would depend on the current folder."""
    if value and not (isinstance(value, str | os.PathLike) and Path(value).is_absolute()):
        raise ValueError("must be the absolute path of a folder")
    return value


def one_of(*names: str, dotted: bool = False) -> Check:
    """Accept one of ``names``; if ``dotted``, also a callable or its dotted path."""
    wanted = "must be one of " + ", ".join(map(repr, names))
    wanted += ", or a callable or its dotted path" if dotted else ""

    def check(value: Any) -> Any:
        if isinstance(value, str) and (value in names or (dotted and "." in value)):
            return value
        if dotted and callable(value):
            return value
        raise ValueError(wanted, did_you_mean(value, names))

    return check


def callable_or_none(value: Any) -> Any:
    """Accept a callable or its dotted path, and None."""
    if value is None or callable(value) or (isinstance(value, str) and "." in value):
        return value
    raise ValueError("must be a callable or its dotted path, or None")


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return a sentence with the nearest known name, or an empty string."""
    folded = {candidate.lower(): candidate for candidate in known}
    near = get_close_matches(str(name).lower(), folded, n=1)
    return f"Did you mean {folded[near[0]]!r}?" if near else ""


def unknown(where: str, name: object, known: Iterable[str], what: str = "option") -> Problem:
    """Return the problem for an unknown name."""
    known = sorted(known)
    hint = did_you_mean(name, known) or f"Known: {', '.join(known)}."
    return Problem(f"{where}[{name!r}]", f"unknown {what}.", hint)


def check_all(
    where: str,
    values: Mapping[str, Any],
    checks: Mapping[str, Check],
    problems: list[Problem],
    also_known: Iterable[str] = (),
) -> dict[str, Any]:
    """Return the valid values; add a problem for each unknown name and wrong value."""
    good = {}
    for name, value in values.items():
        if name not in checks:
            problems.append(unknown(where, name, {*checks, *also_known}))
            continue
        try:
            good[name] = checks[name](value)
        except ValueError as error:
            text, *hint = error.args
            problems.append(Problem(f"{where}[{name!r}]", f"{text}, not {shorten(value)}.", *hint))
    return good


def shorten(value: Any, limit: int = 60) -> str:
    """Return the value's repr, cut so that a misplaced blob cannot fill the log."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}…"
