"""The files in a status folder: their names, the lock, how they are read and replaced."""

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

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

POLL = 0.005


def name(namespace: str, token: str, suffix: str) -> str:
    """Return a file's name; the token tells it from others and has no hyphen."""
    return f"{quote(namespace, safe='')}-{token}{suffix}"


def of_project(folder: Path, namespace: str, suffix: str) -> list[Path]:
    """Return a project's files of one kind."""
    wanted = quote(namespace, safe="")
    return sorted(
        folder / name
        for name in os.listdir(folder)  # noqa: PTH208 - names will do, and often
        if name.endswith(suffix) and name.removesuffix(suffix).rpartition("-")[0] == wanted
    )


def opened(path: Path) -> int:
    """Open a file to read it, and return its descriptor.

    Raises:
        OSError: it cannot be read, or it is none: opening a pipe would wait for a writer.

    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return descriptor


def load(path: Path, owners: Container[int] | None = None) -> dict[str, Any]:
    """Return the JSON object in a file.

    Args:
        path: of the file.
        owners: the users whose file it may be; by default anybody's.

    Raises:
        OSError: it cannot be read, or is another user's.
        ValueError: there is none in it.

    """
    with open(opened(path), "rb") as file:
        if owners is not None and os.fstat(file.fileno()).st_uid not in owners:
            raise PermissionError(errno.EPERM, "of another user", str(path))
        return parse(file.read())


def parse(text: bytes) -> dict[str, Any]:
    """Return the JSON object that a text is.

    Raises:
        ValueError: it is none.

    """
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError("not JSON of ours") from None
    if not isinstance(found, dict):
        raise ValueError("no JSON object")
    return found


@contextmanager
def locked(folder: Path, patience: float) -> Iterator[bool]:
    """Hold the lock of the folder, and tell whether it was to be had within ``patience`` s.

    It is the folder itself that is locked: a file made by root would shut out the user.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        held = _lock(descriptor, time.monotonic() + patience)
        try:
            yield held
        finally:
            if held:
                # Said, for a child that was forked meanwhile has the descriptor too.
                fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def replace(path: Path, content: bytes, owner: int) -> None:
    """Put a file in the place of the one there, all of it or nothing, and the owner's.

    The caller holds the folder's lock.

    Raises:
        OSError: the folder cannot be written to, or is full; nothing is changed then.

    """
    draft = path.with_name(f"{path.name}.draft")
    draft.unlink(missing_ok=True)  # left by somebody who was killed, or laid there as a trap
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        if os.geteuid() == 0:
            os.fchown(descriptor, owner, -1)
        if os.write(descriptor, content) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        draft.rename(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def _lock(descriptor: int, deadline: float) -> bool:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # Never waits for ever: the holder may have been stopped.
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL)
        else:
            return True
