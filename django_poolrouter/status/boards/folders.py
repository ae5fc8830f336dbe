"""The folders in which boards lie.

A service and the shell of its operator have different environments, so a process writes
to the first folder that it can use, and a reader looks into all of them.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ... import conf

SHARED = Path("/run/django-poolrouter")
NAME = "django-poolrouter"


def first_usable(uid: int) -> Path:
    """Return the folder in which a new board would be created.

    Raises:
        OSError: no folder can be used.

    """
    for folder in candidates(uid):
        try:
            prepare(folder)
        except OSError:
            continue
        return folder
    raise OSError(errno.EROFS, "cannot write to any folder for status files")


def readable_folders() -> list[Path]:
    """Return the folders in which boards of this user may lie; for root, those of all users.

    This includes folders that this process may not open, so that the reader can warn of them.
    """
    if not hasattr(os, "getuid"):  # Windows
        return []
    folders = list(candidates(os.getuid()))
    if os.getuid() == 0:
        for parent in (Path("/dev/shm"), *_temporary()):  # noqa: S108
            with suppress(OSError):
                folders += sorted(parent.glob(f"{NAME}-*"))
    return [folder for folder in dict.fromkeys(folders) if _may_be_there(folder)]


def candidates(uid: int) -> Iterator[Path]:
    """Yield the folders that a user's processes may use, the preferred ones first."""
    for chosen in (conf.runtime_dir(), os.environ.get("POOLROUTER_RUNTIME_DIR")):
        if chosen:
            yield Path(chosen)
    yield SHARED
    # In memory.  No clean-up for other users and no service's PrivateTmp touches it.
    yield Path(f"/dev/shm/{NAME}-{uid}")  # noqa: S108
    for temporary in _temporary():
        yield temporary / f"{NAME}-{uid}"


def _may_be_there(folder: Path) -> bool:
    try:
        return stat.S_ISDIR(folder.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # this user may not enter a folder above it
        return True


def _temporary() -> list[Path]:
    try:
        return [Path(tempfile.gettempdir())]
    except OSError:  # perhaps no folder is writable, as in some containers
        return []


def prepare(folder: Path) -> None:
    """Create the folder, or check that the existing one is safe to write to.

    Raises:
        OSError: the folder cannot be used.

    """
    if folder != SHARED:
        # Any user may create names in /tmp, so a folder of another user is not to be trusted.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid not in (os.getuid(), 0):
            raise PermissionError(errno.EPERM, "not a folder of this user")
    # A folder that cannot be listed hides its boards from every reader.
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "cannot be read and written to")
