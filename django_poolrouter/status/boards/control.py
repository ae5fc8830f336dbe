"""Instructions from ``poolctl`` to all processes of a project: to reset a pool, to drain a replica.

An instruction is a line in a small file beside the boards, for each user one.  Each process looks
at the file once a second, from the thread of its housekeeper: a word that pools compared at
each checkout would take effect a little sooner and cost every checkout something.  Its
board says which instruction it carried out last, so ``poolctl`` knows when all have.

Taking part is up to the settings, POOLROUTER["CONTROL"]; the user of a process may give it
instructions, and root.
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
# The greatest number of an instruction: nanoseconds since 1970, far ahead, and a word of the board.
NEWEST = 2**62
PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Instructions:
    """What a file says."""

    number: int = 0
    """Of the newest instruction; each has a greater one than those before."""
    resets: Mapping[str, int] = field(default_factory=dict)
    """The newest instruction to reset each alias."""
    drained: frozenset[str] = frozenset()
    """Replicas that are taken out of routing."""

    def followed_by(self, verb: str, alias: str, number: int) -> Instructions:
        """Return the instructions with one more."""
        instructions = replace(self, number=number)
        if verb == "reset":
            return replace(instructions, resets={**self.resets, alias: number})
        if verb == "drain":
            return replace(instructions, drained=self.drained | {alias})
        return replace(instructions, drained=self.drained - {alias})


def load(path: Path, owners: Container[int] | None = None) -> Instructions:
    """Return what a file says; nothing if it is not there, or of ours, or of these users."""
    with suppress(OSError, ValueError):
        match files.load(path, owners):
            case {"number": int(number), "resets": dict(resets), "drained": list(drained)} if all(
                isinstance(n, int) and 0 <= n <= NEWEST for n in [number, *resets.values()]
            ) and all(isinstance(alias, str) for alias in drained):
                return Instructions(number, resets, frozenset(drained))
    return Instructions()


def drained() -> frozenset[str]:
    """Return the replicas that any user's processes leave alone, by the files that can be read."""
    if not conf.takes_instructions():
        return frozenset()
    return frozenset(alias for path in _known() for alias in load(path).drained)


def drained_for_us() -> frozenset[str]:
    """Return the replicas that this process is to leave alone; never fails."""
    if not conf.takes_instructions():
        return frozenset()
    return frozenset(alias for path in _known() for alias in load(path, _masters()).drained)


def _masters() -> Container[int]:
    """Return the users whose instructions this process follows: its own, and root.

    Anybody may make files in some of the folders, by any name.
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
        alias: of the database.
        boards: the folder and the user of each process that is to follow it.
        wall_clock: nanoseconds since the epoch.

    Raises:
        OSError: there is no place for it, or somebody holds the folder's lock.

    """
    name = conf.namespace()
    places = {folder / files.name(name, str(user), SUFFIX): user for folder, user in boards}
    for path in _known():  # an older instruction holds for processes yet to be started
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


def _known() -> list[Path]:
    """Return the files with instructions, of all folders that can be read."""
    namespace = conf.namespace()
    paths: list[Path] = []
    for folder in readable_folders():
        with suppress(OSError):
            paths += files.of_project(folder, namespace, SUFFIX)
    return paths


def _versions() -> Iterator[tuple[Path, tuple[int, int]]]:
    """Return what tells each version of a file with instructions from those before."""
    for path in _known():
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
        path: of the file with the instructions to this process; replicas that another one drains
            are left out too.
        reset: called with an alias whose connections are to be replaced.
        drain: called with the drained replicas.
        done: called with the number of the newest instruction when it is carried out.

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
        # What was instructed before this process had a connection concerns others.
        self._last = load(path, _masters()).number
        self.upkeep()

    def upkeep(self) -> None:
        """Look for instructions and carry them out."""
        seen = dict(_versions())
        if seen == self._seen:
            return
        instructions = load(self._path, _masters())
        self._drain(drained_for_us())
        for alias, number in instructions.resets.items():
            if number > self._last:
                self._reset(alias)
        self._seen, self._last = seen, instructions.number
        self._done(instructions.number)
