"""The files in a status folder: how they are named, locked, read and replaced."""

from __future__ import annotations

import errno
import json
import os
import stat
import time
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ...pooling.descriptors import OwnDescriptor

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

POLL = 0.005


def name(namespace: str, token: str, suffix: str) -> str:
    """Return a file's name.  The token makes it unique, and must have no hyphen."""
    return f"{quote(namespace, safe='')}-{token}{suffix}"


def of_project(folder: Path, namespace: str, suffix: str) -> list[Path]:
    """Return a project's files of one kind."""
    wanted = quote(namespace, safe="")
    return sorted(
        folder / name
        for name in os.listdir(folder)  # noqa: PTH208 - runs often, and names are enough
        if name.endswith(suffix) and name.removesuffix(suffix).rpartition("-")[0] == wanted
    )


def opened(path: Path, flags: int = os.O_RDONLY) -> OwnDescriptor:
    """Open a file, by default to read it, and return its descriptor.

    Raises:
        OSError: the file cannot be read, or is not a regular file.

    """
    # Without O_NONBLOCK, opening a pipe would wait for a writer.
    descriptor = OwnDescriptor(os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK))
    if not stat.S_ISREG(os.fstat(descriptor.number).st_mode):
        descriptor.close()
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return descriptor


def load(path: Path, owners: Container[int] | None = None) -> dict[str, Any]:
    """Return the JSON object in a file.

    Args:
        path: the file.
        owners: the users whose file it may be; by default any user's.

    Raises:
        OSError: the file cannot be read, or belongs to another user.
        ValueError: it holds no JSON object.

    """
    with opened(path) as descriptor:
        status = os.fstat(descriptor.number)
        if owners is not None and status.st_uid not in owners:
            raise PermissionError(errno.EPERM, "belongs to another user", str(path))
        return parse(os.read(descriptor.number, status.st_size))


def parse(text: bytes) -> dict[str, Any]:
    """Parse a text as a JSON object.

    Raises:
        ValueError: the text is not one.

    """
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError("JSON is nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    return found


@contextmanager
def locked(folder: Path, patience: float) -> Iterator[bool]:
    """Hold the folder's lock; yield False if it was not free within ``patience`` seconds.

    The lock is on the folder itself: a lock file that root created would shut out the user.
    """
    with OwnDescriptor(os.open(folder, os.O_RDONLY | os.O_DIRECTORY)) as descriptor:
        held = lock(descriptor, patience)
        try:
            yield held
        finally:
            if held and descriptor.is_intact:
                # Closing is not enough: a child that was forked meanwhile has the descriptor too.
                fcntl.flock(descriptor.number, fcntl.LOCK_UN)


def replace(path: Path, content: bytes, owner: int) -> None:
    """Replace a file as a whole, or not at all.  The new file belongs to ``owner``.

    The caller holds the folder's lock.

    Raises:
        OSError: the folder cannot be written to, or is full.  Nothing is changed then.

    """
    draft = path.with_name(f"{path.name}.draft")
    draft.unlink(missing_ok=True)  # left by a killed process, or planted as a trap
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with OwnDescriptor(os.open(draft, flags, 0o600)) as descriptor:
        try:
            if os.geteuid() == 0:
                os.fchown(descriptor.use(), owner, -1)
            if os.write(descriptor.use(), content) < len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            draft.rename(path)
        except OSError:
            draft.unlink(missing_ok=True)
            raise


def lock(descriptor: OwnDescriptor, patience: float) -> bool:
    """Lock a file or folder; return False if that failed for ``patience`` seconds."""
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor.number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # Do not wait forever: the holder may be stopped.
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL)
        else:
            return True
