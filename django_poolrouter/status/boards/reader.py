"""Reads the boards of a project's processes on this host, and removes those of ended ones."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Iterator
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

# Seconds to wait while another process removes boards from the folder.
PATIENCE = 0.5
# The largest board, in bytes: it has a million connections.
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
    """The server's view of it, if the server was asked."""


@dataclass(frozen=True, slots=True)
class ProcessPool:
    """One pool in one process."""

    alias: str
    vendor: str
    profile: str
    status: PoolStatus
    connections: tuple[ConnectionReport, ...] = ()
    health: ReplicaState | None = None
    """How this process found the replica; None if it has not looked."""

    @property
    def state(self) -> str:
        """The worst state that is true, one of ``report.STATES``."""
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
    """The folder of its board."""
    owner: int = 0
    """The user that it runs as."""
    id: str = ""
    """Unique in the folder.  The pid is not: each container has its own pid 1."""
    instructions: int | None = None
    """The number of the last one it carried out (see ``control``); None if it takes none."""


@dataclass(slots=True)
class Found:
    """What the boards say, and what could not be read."""

    processes: list[ProcessReport] = field(default_factory=list)
    ended: Retired = field(default_factory=Retired)
    """The counters of ended processes."""
    warnings: list[str] = field(default_factory=list)
    """One line for each thing that could not be read."""


@dataclass(frozen=True, slots=True)
class _Board:
    path: Path
    alive: bool
    process: ProcessReport


def read_boards(namespace: str) -> Found:
    """Read the boards of all processes, and remove those of ended ones."""
    found = Found()
    for folder in readable_folders():
        try:
            _read_folder(folder, namespace, found)
        except OSError as error:
            found.warnings.append(f"cannot read {folder}: {error.strerror or error}")
    found.processes.sort(key=lambda process: process.pid)
    return found


def clear_away(folder: Path, namespace: str, patience: float = 0) -> None:
    """Remove the boards of ended processes from a folder, unless another process does so.

    Never fails: it only tidies up, while a caller waits for a connection or at exit.
    """
    try:
        _read_folder(folder, namespace, Found(), patience, living=False)
    except Exception as error:
        logger.debug("boards of ended processes stay in %s: %s", folder, error)


def _read_folder(
    folder: Path, namespace: str, found: Found, patience: float = PATIENCE, *, living: bool = True
) -> None:
    with files.locked(folder, patience) as is_ours:
        counted = totals.load(folder, namespace)
        found.ended += counted
        ended_boards = []
        for board in _boards(folder, namespace, found, living=living):
            if board.alive:
                found.processes.append(board.process)
            else:
                ended_boards.append(board)
        left: dict[int, list[Retired]] = {}
        for board in ended_boards:
            pools = {pool.alias: pool.status for pool in board.process.pools}
            remains = Retired.of(board.path.name, pools)
            left.setdefault(board.process.owner, []).append(remains)
            if not remains.boards <= counted.boards:
                found.ended += remains
        for owner, ended in left.items() if is_ours else ():
            try:
                totals.fold(folder, namespace, owner, ended)
            except OSError as error:  # The next reader counts them from their boards again.
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
                found.warnings.append(f"{path} was written by another version of django-poolrouter")


def _read_board(path: Path, *, living: bool) -> _Board | None:
    """Return what a board says; None if its process lives and its format is another.

    Without ``living``, also None for every live process.
    """
    with files.opened(path) as descriptor:
        alive = _is_locked(descriptor.number)
        if alive and not living:
            return None
        try:
            content = memoryview(_content(descriptor.number))
            process = _parse(content)
        except ValueError:
            if alive:
                return None
            path.unlink()
            raise FileNotFoundError(path) from None
        alive = alive or (not layout.has_ended(content) and _is_mapped(path, process.pid))
        if alive and not living:
            return None
        process = replace(
            process,
            folder=path.parent,
            owner=os.fstat(descriptor.number).st_uid,
            id=path.stem.rpartition("-")[2],
        )
        return _Board(path, alive, process)


def _content(descriptor: int) -> bytes:
    """Return the contents of the file.

    The file is read, not mapped: if another process shortened it, access to a lost page of a map
    would end in SIGBUS.  The kernel copies whole words, so no figure is half of an old one.
    """
    size = os.fstat(descriptor).st_size
    if size > LARGEST:
        raise ValueError("not a board")
    return os.read(descriptor, size)


def _is_locked(descriptor: int) -> bool:
    """Tell whether the writer lives: the kernel drops its lock when the process ends."""
    try:
        # Shared, so that two readers do not take each other for the writer.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return True
        raise
    return False


def _is_mapped(path: Path, pid: int) -> bool:
    """Tell whether a process has the board mapped, so that its pools still write to it.

    A process may live without its lock: a daemon closes all descriptors, but no map.  If the
    process is in another container, or this is not Linux, the answer is False.
    """
    try:
        return path.name in Path(f"/proc/{pid}/maps").read_text(errors="replace")
    except OSError:
        return False


def _parse(view: memoryview) -> ProcessReport:
    process, instructions, segments = layout.parse(view)
    now = time.monotonic_ns()
    pools: dict[str, ProcessPool] = {}
    for meta, words in segments:
        with words:
            found = _pool(meta, words.tolist(), now)
        # An alias has several pools if a test database was renamed or a wrapper was copied.
        earlier = pools.get(found.alias)
        pools[found.alias] = _merge(earlier, found) if earlier else found
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
