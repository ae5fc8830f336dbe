"""Reads the boards of a project's processes on this host, and clears away those of the dead."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...pooling import PoolStatus
from ...pooling.counters import (
    BACKEND,
    CELL_WORDS,
    CREATED,
    POOL_WORDS,
    SINCE,
    THREAD,
    USES,
    add,
    read,
)
from . import files, layout, replica_health, totals
from .folders import readable_folders
from .replica_health import ReplicaState
from .totals import Retired

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from ...drivers.facts import ServerSession

logger = logging.getLogger("django_poolrouter.status")

# How long to wait for another who is clearing away the boards of the dead, in seconds.
PATIENCE = 0.5
# Bytes of a board with a million connections.
LARGEST = 2**26


@dataclass(frozen=True, slots=True)
class ConnectionReport:
    """One open connection."""

    state: str
    """"in_use" or "idle"."""
    state_age_s: float
    age_s: float
    uses: int
    thread: int
    backend: int
    server: ServerSession | None = None
    """What the server says of it, where it was asked."""


@dataclass(frozen=True, slots=True)
class ProcessPool:
    """One pool in one process."""

    alias: str
    vendor: str
    profile: str
    status: PoolStatus
    connections: tuple[ConnectionReport, ...] = ()
    health: ReplicaState | None = None
    """How this process found the replica that it leads to; None where nobody looked."""

    @property
    def state(self) -> str:
        """One word for how it fares, one of ``report.STATES``: the worst that is true."""
        status = self.status
        found = self.health.state if self.health else "up"
        if status.waiting:
            return "exhausted" if status.checkedout >= status.max else "waiting"
        if found == "ejected":
            return found
        if status.checkedout >= 0.9 * status.max:
            return "busy"
        return "lagging" if found == "lagging" else "ok"


@dataclass(frozen=True, slots=True)
class ProcessReport:
    """One process that has opened a pool."""

    pid: int
    command: str
    started_at: str
    pools: tuple[ProcessPool, ...]
    folder: Path = Path()
    """Where its board lies."""
    owner: int = 0
    """The user that it runs as."""
    id: str = ""
    """What tells it from all others of the folder's; a container has a pid 1 of its own."""
    instructions: int | None = None
    """The last instruction that it has carried out (see ``control``); None if it takes none."""


@dataclass(slots=True)
class Found:
    """All that was found."""

    processes: list[ProcessReport] = field(default_factory=list)
    ended: Retired = field(default_factory=Retired)
    """What processes counted that have ended."""
    warnings: list[str] = field(default_factory=list)
    """What could not be read, a line each."""


@dataclass(frozen=True, slots=True)
class _Board:
    path: Path
    alive: bool
    process: ProcessReport


def read_boards(namespace: str) -> Found:
    """Read the boards of all processes; those of dead ones are removed."""
    found = Found()
    for folder in readable_folders():
        try:
            _read_folder(folder, namespace, found)
        except OSError as error:
            found.warnings.append(f"cannot read {folder}: {error.strerror or error}")
    found.processes.sort(key=lambda process: process.pid)
    return found


def clear_away(folder: Path, namespace: str, patience: float = 0) -> None:
    """Remove the boards of dead processes from a folder, if nobody else is at it.

    Never fails: it is a favour to others, done while a connection is wanted or at the exit.
    """
    try:
        _read_folder(folder, namespace, Found(), patience, living=False)
    except Exception as error:
        logger.debug("boards of ended processes stay in %s: %s", folder, error)


def _read_folder(
    folder: Path, namespace: str, found: Found, patience: float = PATIENCE, *, living: bool = True
) -> None:
    with files.locked(folder, patience) as is_ours:
        known = totals.load(folder, namespace)
        found.ended += known
        dead = []
        for board in _boards(folder, namespace, found, living=living):
            if board.alive:
                found.processes.append(board.process)
            else:
                dead.append(board)
        left: dict[int, list[Retired]] = {}
        for board in dead:
            pools = {pool.alias: pool.status for pool in board.process.pools}
            remains = Retired.of(board.path.name, pools)
            left.setdefault(board.process.owner, []).append(remains)
            if not remains.boards <= known.boards:
                found.ended += remains
        for owner, ended in left.items() if is_ours else ():
            try:
                totals.fold(folder, namespace, owner, ended)
            except OSError as error:  # then they are counted from their boards each time
                logger.debug("boards of ended processes stay in %s: %s", folder, error)


def _boards(folder: Path, namespace: str, found: Found, *, living: bool) -> Iterator[_Board]:
    for path in files.of_project(folder, namespace, layout.SUFFIX):
        try:
            board = _read_board(path, living=living)
        except FileNotFoundError:  # its process has ended meanwhile
            continue
        except OSError as error:
            found.warnings.append(f"cannot read {path}: {error.strerror}")
        else:
            if board is not None:
                yield board
            else:
                found.warnings.append(f"{path} is of another version of django-poolrouter")


def _read_board(path: Path, *, living: bool) -> _Board | None:
    """Return what the board says; None if it is alive and written in another way, or unwanted."""
    descriptor = files.opened(path)
    with ExitStack() as stack:
        stack.callback(os.close, descriptor)
        alive = _is_locked(descriptor)
        if alive and not living:
            return None
        try:
            process = _parse(memoryview(_content(descriptor)))
        except ValueError:
            if alive:
                return None
            path.unlink()
            raise FileNotFoundError(path) from None
        process = replace(
            process,
            folder=path.parent,
            owner=os.fstat(descriptor).st_uid,
            id=path.stem.rpartition("-")[2],
        )
        return _Board(path, alive, process)


def _content(descriptor: int) -> bytes:
    """Return all that is in the file.

    It is read, not mapped: in a map, a page that somebody cuts off ends in SIGBUS.  The kernel
    copies whole words.
    """
    size = os.fstat(descriptor).st_size
    if size > LARGEST:
        raise ValueError("not a board")
    return os.read(descriptor, size)


def _is_locked(descriptor: int) -> bool:
    """Tell whether the writer lives: the kernel drops its lock with the process."""
    try:
        # Shared, so that two readers do not take each other for the writer.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return True
        raise
    return False


def _parse(view: memoryview) -> ProcessReport:
    process, instructions, segments = layout.parse(view)
    now = time.monotonic_ns()
    pools: dict[str, ProcessPool] = {}
    for meta, words in segments:
        with words:
            found = _pool(meta, words.tolist(), now)
        # Renamed test databases and copies of a wrapper have pools of their own.
        known = pools.get(found.alias)
        pools[found.alias] = _merge(known, found) if known else found
    return ProcessReport(
        process["pid"],
        process["command"],
        process["started_at"],
        tuple(pools.values()),
        instructions=instructions if process["takes_instructions"] else None,
    )


def _pool(meta: dict[str, Any], words: list[int], now: int) -> ProcessPool:
    return ProcessPool(
        meta["alias"],
        meta["vendor"],
        meta["profile"],
        read(words, now),
        tuple(_connections(words, now)),
        replica_health.read(words, now),
    )


def _connections(words: list[int], now: int) -> Iterator[ConnectionReport]:
    for start in range(POOL_WORDS, len(words), CELL_WORDS):
        cell = words[start : start + CELL_WORDS]
        if since := cell[SINCE]:
            yield ConnectionReport(
                state="in_use" if since > 0 else "idle",
                state_age_s=max(0, now - abs(since)) / 1e9,
                age_s=max(0, now - cell[CREATED]) / 1e9,
                uses=cell[USES],
                thread=cell[THREAD],
                backend=cell[BACKEND],
            )


def _merge(one: ProcessPool, other: ProcessPool) -> ProcessPool:
    return ProcessPool(
        one.alias,
        one.vendor,
        one.profile,
        add([one.status, other.status]),
        one.connections + other.connections,
        replica_health.worst([one.health, other.health]),
    )
