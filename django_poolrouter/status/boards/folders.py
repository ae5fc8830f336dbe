"""Where boards lie.

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
    """Return the folder that a new board would be made in.

    Raises:
        OSError: there is none.

    """
    for folder in candidates(uid):
        try:
            prepare(folder)
        except OSError:
            continue
        return folder
    raise OSError(errno.EROFS, "no folder for status files can be written to")


def readable_folders() -> list[Path]:
    """Return the folders in which boards of this user may lie; root sees all users'.

    Those that this process may not look into are among them: whoever reads them tells.
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
    """Return the folders that count for a user, the most wanted first."""
    for chosen in (conf.runtime_dir(), os.environ.get("POOLROUTER_RUNTIME_DIR")):
        if chosen:
            yield Path(chosen)
    yield SHARED
    # Memory that other users' clean-up and a service's PrivateTmp leave alone.
    yield Path(f"/dev/shm/{NAME}-{uid}")  # noqa: S108
    for temporary in _temporary():
        yield temporary / f"{NAME}-{uid}"


def _may_be_there(folder: Path) -> bool:
    try:
        return stat.S_ISDIR(folder.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # on the way to it is a folder that is closed to this user
        return True


def _temporary() -> list[Path]:
    try:
        return [Path(tempfile.gettempdir())]
    except OSError:  # in a container, no folder may be writable at all
        return []


def prepare(folder: Path) -> None:
    """Make the folder, or check that one found there is safe to write to.

    Raises:
        OSError: it cannot be used.

    """
    if folder != SHARED:
        # Anybody may create names in /tmp: a folder of somebody else's is not ours to trust.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid not in (os.getuid(), 0):
            raise PermissionError(errno.EPERM, "not a folder of this user")
    # What cannot be listed hides the boards in it from everybody.
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "cannot be read and written to")
