"""Descriptors with the file that they led to, because others may close them.

A daemon closes all descriptors, and so does ``os.closerange``.  The next file that the
application opens gets one of the numbers.  Code that uses its number without a look then writes
to that file, or closes it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import sys
from collections.abc import Callable
from typing import Self

Identity = tuple[int, int]


class Descriptor:
    """A descriptor's number, and the file that it leads to when this object is made."""

    __slots__ = ("_file", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self._file = identity(number)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.number}{'' if self.is_intact else ', lost'}>"

    @property
    def is_intact(self) -> bool:
        """Whether the number still leads to the same file.  This takes about a microsecond."""
        # The sockets of Windows are not descriptors, so there is nothing to compare.
        return self._file is None or self._file == identity(self.number)

    @property
    def is_free(self) -> bool:
        """Whether the number leads to no file."""
        return identity(self.number) is None


class OwnDescriptor(Descriptor):
    """A descriptor that this object closes, unless its number leads to another file by now."""

    __slots__ = ()

    def use(self) -> int:
        """Return the number, to be used at once.

        Raises:
            OSError: it leads to another file by now, or to none.

        """
        if not self.is_intact:
            raise OSError(errno.EBADF, "another part of the program closed the descriptor")
        return self.number

    def close(self) -> None:
        """Close the descriptor; does nothing if it is closed already, by whatever code."""
        number, is_intact = self.number, self.is_intact
        self.number = -1
        if is_intact and number >= 0:
            os.close(number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # An argument: the interpreter may have cleared this module's names by then.
    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        if not is_finalizing():
            self.close()


def identity(number: int) -> Identity | None:
    """Return the device and inode that a descriptor leads to; None if it leads to no file."""
    try:
        status = os.fstat(number)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def silent_descriptor() -> OwnDescriptor | None:
    """Return a descriptor that stays silent in a poll until other code closes it.

    None if there cannot be one.
    """
    try:
        return OwnDescriptor(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).detach())
    except (AttributeError, OSError):  # Windows; no more descriptors
        return None


def keep_forever(found: object) -> None:
    """Keep an object from being finalized, even at the interpreter's exit.

    Its finalizer would use a descriptor whose number may lead to another file by now.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(found))
