"""The counters of processes that have ended, kept so that the host's totals never go back.

Whoever finds the board of a dead process adds its counters to one small file for each user
of the folder and removes the board; a process that ends in order does that with its own.
All of it happens under an exclusive lock on the folder.  The file is replaced as a whole
and names the boards that it includes, as long as they are there: who is killed between the
two steps leaves a board that the next one only has to remove.
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
from . import files, layout

VERSION = 1
SUFFIX = ".retired"


@dataclass(frozen=True, slots=True)
class Retired:
    """What ended processes counted."""

    pools: Mapping[str, PoolStatus] = field(default_factory=dict)
    """Of each alias, with figures of 0 where they are no counters."""
    processes: Mapping[str, int] = field(default_factory=dict)
    """Of each alias, how many processes have ended that used it."""
    boards: frozenset[str] = frozenset()
    """Names of the boards that are included and may still lie there."""

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
        """Return what is left of one process."""
        counted = {alias: _counters(status) for alias, status in pools.items()}
        return cls(counted, dict.fromkeys(counted, 1), frozenset([board]))


def load(folder: Path, namespace: str) -> Retired:
    """Return what is kept of ended processes; files of other users count if we may read them."""
    found = Retired()
    for path in files.of_project(folder, namespace, SUFFIX):
        with suppress(OSError, ValueError):
            found += _load(path)
    return found


def fold(folder: Path, namespace: str, owner: int, dead: Collection[Retired]) -> None:
    """Add what is left of some processes to the owner's file and remove their boards.

    The caller holds the folder's lock.

    Raises:
        OSError: the folder cannot be written to, or is full; nothing is changed then.

    """
    path = folder / files.name(namespace, str(owner), SUFFIX)
    known = Retired()
    with suppress(OSError, ValueError):
        known = _load(path)
    here = {path.name for path in files.of_project(folder, namespace, layout.SUFFIX)}
    known = replace(known, boards=known.boards & here)
    for one in dead:
        if not one.boards <= known.boards:
            known += one
    files.replace(path, json.dumps(_content(known)).encode(), owner)
    # Not what the file names: root reads files of users, who might name any file there is.
    for board in frozenset().union(*(one.boards for one in dead)):
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
    buckets = numbers.pop("wait_buckets")
    if not isinstance(buckets, list) or len(buckets) != WAIT_BUCKETS:
        raise ValueError("not waits by their length")
    return replace(
        PoolStatus.unopened(),
        **{name: _number(value) for name, value in numbers.items()},
        wait_buckets=tuple(map(_number, buckets)),
    )


def _number(value: Any) -> Any:
    if isinstance(value, int | float) and 0 <= value < 2**63:
        return value
    raise ValueError("not a count")
