"""Instructions from ``poolctl`` to all processes of a project: reset a pool, drain a replica.

The instructions lie in small files beside the boards, one for each user.  The housekeeper of
each process looks at them once a second.  Pools could instead compare a number at each checkout:
that would take effect a little sooner, but slow every checkout.  The board of a process says
which instruction it carried out last, so ``poolctl`` knows when all processes are done.

A process takes instructions if POOLROUTER["CONTROL"] is set, and only from its own user and
from root.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from ... import conf
from . import files
from .folders import first_usable, readable_folders

SUFFIX = ".control"
VERBS = ("reset", "drain", "undrain")
LOOK_EVERY = 1.0
# The greatest number of an instruction.  Numbers are nanoseconds since 1970, and must fit into a
# word of the board.
NEWEST = 2**62
PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Instructions:
    """The instructions in one file."""

    number: int = 0
    """The number of the newest instruction.  Each has a greater number than those before."""
    resets: Mapping[str, int] = field(default_factory=dict)
    """The number of the newest reset of each alias."""
    drained: frozenset[str] = frozenset()
    """Replicas that get no reads."""

    def followed_by(self, verb: str, alias: str, number: int) -> Instructions:
        """Return these instructions and one more."""
        instructions = replace(self, number=number)
        if verb == "reset":
            return replace(instructions, resets={**self.resets, alias: number})
        if verb == "drain":
            return replace(instructions, drained=self.drained | {alias})
        return replace(instructions, drained=self.drained - {alias})


def load(path: Path, owners: Container[int] | None = None) -> Instructions:
    """Return the instructions in a file; none if it is missing, malformed or another user's.

    Args:
        path: the file.
        owners: the users whose file it may be; by default any user's.

    """
    with suppress(OSError, ValueError):
        match files.load(path, owners):
            case {"number": int(number), "resets": dict(resets), "drained": list(drained)} if all(
                isinstance(n, int) and 0 <= n <= NEWEST for n in [number, *resets.values()]
            ) and all(isinstance(alias, str) for alias in drained):
                return Instructions(number, resets, frozenset(drained))
    return Instructions()


def drained() -> frozenset[str]:
    """Return the replicas that any user has drained, as far as their files can be read."""
    if not conf.takes_instructions():
        return frozenset()
    return frozenset(alias for path in _instruction_files() for alias in load(path).drained)


def drained_for_us() -> frozenset[str]:
    """Return the replicas that this process must not read from; never fails."""
    if not conf.takes_instructions():
        return frozenset()
    return frozenset(
        alias for path in _instruction_files() for alias in load(path, _trusted_users()).drained
    )


def _trusted_users() -> Container[int]:
    """Return the users whose instructions this process follows: its own, and root.

    In some of the folders any user may create files, with any name.
    """
    return (os.getuid(), 0)


def give(
    verb: str,
    alias: str,
    boards: Iterable[tuple[Path, int]],
    wall_clock: Callable[[], int] = time.time_ns,
) -> int:
    """Give an instruction, and return its number.

    Args:
        verb: one of VERBS.
        alias: the database.
        boards: the folder and the user of each process that must follow it.
        wall_clock: returns nanoseconds since 1970.

    Raises:
        OSError: no folder can be written to, or another process holds the folder's lock.

    """
    name = conf.namespace()
    places = {folder / files.name(name, str(user), SUFFIX): user for folder, user in boards}
    for path in _instruction_files():  # processes that start later follow the files that exist
        places.setdefault(path, path.lstat().st_uid)
    if not places:
        user = os.getuid()
        places = {first_usable(user) / files.name(name, str(user), SUFFIX): user}
    number = wall_clock()
    for path, user in places.items():
        with files.locked(path.parent, PATIENCE) as is_ours:
            if not is_ours:
                raise TimeoutError(f"{path.parent} is locked by another process")
            before = load(path, (user, 0))
            number = max(number, before.number + 1)
            _save(path, before.followed_by(verb, alias, number), user)
    return number


def _instruction_files() -> list[Path]:
    """Return the files with instructions, in all folders that can be read."""
    namespace = conf.namespace()
    paths: list[Path] = []
    for folder in readable_folders():
        with suppress(OSError):
            paths += files.of_project(folder, namespace, SUFFIX)
    return paths


def _versions() -> Iterator[tuple[Path, tuple[int, int]]]:
    """Yield each file with instructions, and two numbers that change whenever it does."""
    for path in _instruction_files():
        with suppress(OSError):  # removed meanwhile
            status = path.lstat()
            yield path, (status.st_ino, status.st_mtime_ns)


def _save(path: Path, instructions: Instructions, user: int) -> None:
    content = {
        "number": instructions.number,
        "resets": instructions.resets,
        "drained": sorted(instructions.drained),
    }
    files.replace(path, json.dumps(content).encode(), user)


class Follower:
    """Carries out the instructions in one process; the housekeeper calls ``upkeep``.

    Args:
        path: the file with the instructions to this process.  Replicas that other files drain
            get no reads either.
        reset: called with an alias whose pool must be cleared.
        drain: called with all drained replicas.
        done: called with the number of the newest instruction after it was carried out.

    """

    upkeep_interval = LOOK_EVERY
    asks_for_thread = True

    def __init__(
        self,
        path: Path,
        reset: Callable[[str], None],
        drain: Callable[[frozenset[str]], None],
        done: Callable[[int], None],
    ) -> None:
        self._path = path
        self._reset = reset
        self._drain = drain
        self._done = done
        self._seen: dict[Path, tuple[int, int]] = {}
        # This process had no connection yet when earlier resets were given.
        self._last = load(path, _trusted_users()).number
        self.upkeep()

    def upkeep(self) -> None:
        """Look for new instructions and carry them out."""
        seen = dict(_versions())
        if seen == self._seen:
            return
        instructions = load(self._path, _trusted_users())
        self._drain(drained_for_us())
        for alias, number in instructions.resets.items():
            if number > self._last:
                self._reset(alias)
        self._seen, self._last = seen, instructions.number
        self._done(instructions.number)
