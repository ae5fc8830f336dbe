"""Shows this process's pools to others, in a board that they can read at any time.

The pools write their figures straight into the mapped file.  No code has to run when others
read them, so a process that is stopped or busy still shows the truth.  An exclusive lock on the
file says that the process lives: the kernel drops it however the process ends.

The first pool creates the board; an import never does.  If anything fails here, the pools go on
in private memory.

Other code may close the descriptors of the board, as a daemon does when it starts.  The figures go
on: a map needs no descriptor, and readers take the process for alive while it maps the file.
Before the next write the descriptors are compared, and opened again.
"""

from __future__ import annotations

import errno
import logging
import mmap
import os
import secrets
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import conf
from ...pooling import Page
from ...pooling.counters import words_needed
from ...pooling.descriptors import OwnDescriptor, identity, keep_forever
from . import control, files, layout, replica_health
from .control import Follower
from .folders import candidates, prepare
from .reader import clear_away

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from ...pooling import PoolConfig
    from ...process.database_pool import DatabasePool
    from ...process.registry import Registry
    from ...routing import State

logger = logging.getLogger("django_poolrouter.status")

# Seconds to wait for another process that has a lock.
PATIENCE = 0.5


class Publisher:
    """Gives the pools of a registry pages on this process's board."""

    # The housekeeper calls ``upkeep`` when it has work for pools.
    upkeep_interval: float | None = None
    asks_for_thread = False

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._lock = threading.Lock()  # guards the fields below
        self._board: Board | None = None
        self._follower: Follower | None = None
        self._words: dict[str, list[memoryview]] = {}
        self._has_warned = False
        self._has_ended = False

    def start(self) -> None:
        """Show all pools that are opened from now on."""
        self._registry.publisher = self

    def page(self, pool: DatabasePool, config: PoolConfig) -> Page:
        """Return a page for a new pool: on the board, or in private memory.

        Pools that are opened after the end are in private memory.
        """
        words = words_needed(config.max)
        meta = {"alias": pool.alias, "vendor": pool.vendor, "profile": config.profile}
        with self._lock:
            if self._has_ended:
                return Page.private(config.max)
            try:
                board = self._usable_board()
                page = Page(board.add_segment({**meta, "words": words}, words))
            except Exception as error:  # the caller must get a connection all the same
                self._warn_once(f"pool {pool.alias!r} is not shown to poolstatus: {error}")
                return Page.private(config.max)
            self._words.setdefault(pool.alias, []).append(page.words)
            return page

    def upkeep(self) -> None:
        """Open and lock the board again if other code closed its descriptors."""
        with self._lock, suppress(OSError):
            if self._board is not None and not self._board.is_usable():
                self._board = None

    def _usable_board(self) -> Board:
        """Return the board, or a new one; the caller holds the lock.

        Raises:
            OSError: there is none, and no folder can be used.

        """
        housekeeper = self._registry.housekeeper
        if self._board is None or not self._board.is_usable():
            self._board = None
            self._board = _make_board()
            self._follower = self._follow(self._board)
        housekeeper.watch(self)
        if self._follower is not None:
            housekeeper.watch(self._follower)
        return self._board

    def drained(self) -> frozenset[str]:
        """Return the replicas that this process must not read from; never fails."""
        return control.drained_for_us()

    def note_health(self, alias: str, state: State, lag: float | None) -> None:
        """Show how a replica was found.  The thread that asked the replica calls this."""
        for words in self._words.get(alias, ()):
            replica_health.note(words, state, lag, time.monotonic_ns())

    def _follow(self, board: Board) -> Follower | None:
        """Return a follower of instructions; None if the settings do not ask for one."""
        if not conf.takes_instructions():
            return None
        name = files.name(conf.namespace(), str(os.getuid()), control.SUFFIX)
        registry = self._registry
        path = board.path.with_name(name)
        return Follower(path, registry.clear, registry.drain, board.note_instruction)

    def _warn_once(self, what: str) -> None:
        # Warn once: every pool would fail for the same reason.
        logger.log(logging.DEBUG if self._has_warned else logging.WARNING, "%s", what)
        self._has_warned = True

    def after_fork(self) -> None:
        self._lock = threading.Lock()
        self._follower = None
        self._words = {}
        board, self._board = self._board, None
        if board is not None:
            board.close()

    def end(self) -> None:
        """Publish nothing from now on, and remove the board, when the process ends.

        Threads and other exit handlers may still open pools: descriptors are other files' by
        then.
        """
        with self._lock:
            self._has_ended = True
            board, self._board = self._board, None
            self._follower = None
        if board is not None:
            board.remove()


def _make_board() -> Board:
    """Create the board in the first folder that can be used.

    Raises:
        OSError: no folder can be used.

    """
    reasons = []
    for folder in candidates(os.getuid()):
        try:
            prepare(folder)
            board = Board(folder)
        except OSError as error:
            reasons.append(f"{folder}: {error.strerror or error}")
            continue
        # Here too: workers may come and go on a host where poolstatus never runs.
        clear_away(folder, conf.namespace())
        return board
    raise OSError("; ".join(reasons))


class Board:
    """The file of this process."""

    def __init__(self, folder: Path) -> None:
        """Create the file in ``folder``.  It appears locked and complete, or not at all."""
        namespace = conf.namespace()
        token = f"{os.getpid()}_{secrets.token_hex(4)}"
        self.path = folder / files.name(namespace, token, layout.SUFFIX)
        draft = self.path.with_suffix(".draft")
        self._lock = OwnDescriptor(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        # A second descriptor, for the maps.  A map keeps a copy of its descriptor, but a forked
        # child must be able to close every descriptor that holds the lock.
        self._file = files.opened(draft, os.O_RDWR)
        self._identity = identity(self._file.number)
        self._size = 0
        try:
            fcntl.flock(self._lock.number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            at = self._append(layout.pack_header(_describe_process()))
            # Mapped, like the segments: a thread may write to it after the file was closed.
            self._header = self._map(self._size, at).cast("q")
            draft.rename(self.path)
        except Exception:
            self.close()
            draft.unlink(missing_ok=True)
            raise

    def add_segment(self, pool: dict[str, Any], words: int) -> memoryview:
        """Append a pool and return its words, all 0."""
        content, length, start = layout.pack_segment(pool, words)
        at = self._append(content.ljust(length, b"\0"))
        view = self._map(length, at)
        view[:8].cast("q")[0] = layout.SEGMENT_MAGIC
        return view[start : start + 8 * words].cast("q")

    def is_usable(self) -> bool:
        """Tell whether the file can be written to; open and lock it again if need be.

        Raises:
            OSError: that failed, and may succeed later.

        """
        return (self._lock.is_intact and self._file.is_intact) or self._reopen()

    def _reopen(self) -> bool:
        # First of all: one of the new descriptors may get an old number, and leads to this file.
        self.close()
        try:
            # Hold the folder's lock, so that no reader takes the process for dead and removes
            # the file.
            with files.locked(self.path.parent, PATIENCE) as is_ours:
                lock, file = (files.opened(self.path, os.O_RDWR) for _ in range(2))
                if identity(file.number) != self._identity:
                    return False
                if not is_ours or not files.lock(lock, PATIENCE):
                    raise TimeoutError(f"{self.path} is locked by another process")
        except FileNotFoundError:
            return False
        self._lock, self._file = lock, file
        return True

    def _map(self, length: int, at: int) -> memoryview:
        segment = mmap.mmap(self._file.use(), length, offset=at)
        # Finalized, it would close the number of its copy of the descriptor.
        keep_forever(segment)
        return memoryview(segment)

    def _append(self, content: bytes) -> int:
        """Write at the end and return the offset.  If it fails, the end stays where it was."""
        at, length = self._size, len(content)
        # Reserve the space before writing: touching a hole on a full disk ends in SIGBUS.
        if hasattr(os, "posix_fallocate"):  # not on macOS
            os.posix_fallocate(self._file.use(), at, length)
        if os.pwrite(self._file.use(), content, at) < length:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._size += length
        return at

    def note_instruction(self, number: int) -> None:
        """Show that an instruction was carried out."""
        self._header[layout.INSTRUCTIONS] = number

    def close(self) -> None:
        """Close the file without unlocking it: in a forked child, the lock is the parent's."""
        self._lock.close()
        self._file.close()

    def remove(self) -> None:
        """Remove the file at the end of the process, and add its counters to the host's totals."""
        self._header[layout.ENDED] = 1  # this process still maps the file
        self.close()
        clear_away(self.path.parent, conf.namespace(), patience=PATIENCE)


def _describe_process() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "command": _command(),
        "started_at": datetime.fromtimestamp(_started(), UTC).isoformat(timespec="seconds"),
        "takes_instructions": conf.takes_instructions(),
    }


def _command() -> str:
    """Return the program, with manage.py's subcommand; other arguments may be secret."""
    path = Path(sys.argv[0])
    program = path.parent.name if path.name == "__main__.py" else path.name or "python"
    if program in ("manage.py", "django-admin") and len(sys.argv) > 1:
        program += f" {sys.argv[1]}"
    return program


def _started(wall_clock: Callable[[], float] = time.time) -> float:
    """Return when this process started, in seconds since 1970."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        return wall_clock() - uptime + ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):  # not Linux
        return wall_clock()
