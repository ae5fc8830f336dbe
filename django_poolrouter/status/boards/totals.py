"""The counters of processes that have ended, kept so that the host's totals never go back.

A process that ends normally adds the counters of its board to a small file, and removes the
board.  For a killed process, the next reader or the next new process does that.  The folder has
one such file for each user.

Both steps happen under an exclusive lock on the folder.  The file is replaced as a whole, and
names the boards that it includes, for as long as they exist.  If a process is killed between the
two steps, the board that stays is not added twice but only removed.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...pooling import PoolStatus
from ...pooling.counters import COUNTERS, add
from ...pooling.histogram import WAIT_BUCKETS
from ...sql.marks import MARKS
from . import files, layout

VERSION = 3
SUFFIX = ".retired"


@dataclass(frozen=True, slots=True)
class Retired:
    """The counters of ended processes."""

    pools: Mapping[str, PoolStatus] = field(default_factory=dict)
    """The counters of each alias.  Figures that are not counters are 0."""
    processes: Mapping[str, int] = field(default_factory=dict)
    """How many of the processes that used each alias have ended."""
    boards: frozenset[str] = frozenset()
    """The names of boards that are included and may still exist."""

    def __add__(self, other: Retired) -> Retired:
        aliases = [*dict.fromkeys([*self.pools, *other.pools])]
        none = PoolStatus.unopened()
        return Retired(
            {a: add([self.pools.get(a, none), other.pools.get(a, none)]) for a in aliases},
            {a: self.processes.get(a, 0) + other.processes.get(a, 0) for a in aliases},
            self.boards | other.boards,
        )

    @classmethod
    def of(cls, board: str, pools: Mapping[str, PoolStatus]) -> Retired:
        """Return the counters of one ended process."""
        counted = {alias: _counters(status) for alias, status in pools.items()}
        return cls(counted, dict.fromkeys(counted, 1), frozenset([board]))


def load(folder: Path, namespace: str) -> Retired:
    """Return the counters of ended processes, from the files of all users that can be read."""
    found = Retired()
    for path in files.of_project(folder, namespace, SUFFIX):
        with suppress(OSError, ValueError):
            found += _load(path)
    return found


def fold(folder: Path, namespace: str, owner: int, ended: Collection[Retired]) -> None:
    """Add the counters of ended processes to the owner's file, and remove their boards.

    The caller holds the folder's lock.

    Raises:
        OSError: the folder cannot be written to, or is full.  Nothing is changed then.

    """
    path = folder / files.name(namespace, str(owner), SUFFIX)
    total = Retired()
    with suppress(OSError, ValueError):
        total = _load(path)
    here = {path.name for path in files.of_project(folder, namespace, layout.SUFFIX)}
    total = replace(total, boards=total.boards & here)
    for one in ended:
        if not one.boards <= total.boards:
            total += one
    files.replace(path, json.dumps(_content(total)).encode(), owner)
    # Never remove what the file names: root reads users' files, and a user could name any path.
    for board in frozenset().union(*(one.boards for one in ended)):
        (folder / board).unlink(missing_ok=True)


def _counters(status: PoolStatus) -> PoolStatus:
    return replace(PoolStatus.unopened(), **{name: getattr(status, name) for name in COUNTERS})


def _content(retired: Retired) -> dict[str, Any]:
    return {
        "version": VERSION,
        "boards": sorted(retired.boards),
        "pools": {
            alias: {
                "processes": retired.processes[alias],
                **{name: getattr(status, name) for name in COUNTERS},
            }
            for alias, status in retired.pools.items()
        },
    }


def _load(path: Path) -> Retired:
    match files.load(path):
        case {"version": int(version), "boards": list(boards), "pools": dict(pools)} if (
            version == VERSION and all(isinstance(board, str) for board in boards)
        ):
            return Retired(
                {alias: _status(figures) for alias, figures in pools.items()},
                {alias: _number(figures["processes"]) for alias, figures in pools.items()},
                frozenset(boards),
            )
    raise ValueError("of another version")


def _status(figures: Any) -> PoolStatus:
    if not isinstance(figures, dict) or not figures.keys() >= {"processes", *COUNTERS}:
        raise ValueError("not the counters of a pool")
    numbers = {name: figures[name] for name in COUNTERS}
    rows = {"wait_buckets": WAIT_BUCKETS, "marks": len(MARKS)}
    lists: dict[str, Any] = {
        name: _numbers(numbers.pop(name), length) for name, length in rows.items()
    }
    single = {name: _number(value) for name, value in numbers.items()}
    return replace(PoolStatus.unopened(), **single, **lists)


def _numbers(values: Any, length: int) -> tuple[Any, ...]:
    if not isinstance(values, list) or len(values) != length:
        raise ValueError(f"not a list of {length} counts")
    return tuple(map(_number, values))


def _number(value: Any) -> Any:
    if isinstance(value, int | float) and 0 <= value < 2**63:
        return value
    raise ValueError("not a count")
