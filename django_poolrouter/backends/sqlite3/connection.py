"""The standard library's connection, as the pool wants it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from typing import Any

from ...drivers.restorable import Restorable

# Python 3.12 and later have another way to control transactions besides.
CONTROLS = ("autocommit",) if hasattr(sqlite3.Connection, "autocommit") else ()


class RestorableConnection(sqlite3.Connection, Restorable):
    """SQLite's connection, which gives up what its users made of it."""

    routine = frozenset({"isolation_level"})
    beyond = ("row_factory", "text_factory", *CONTROLS)
    path = ""
    file: tuple[int, int] | None = None

    def note_file(self) -> None:
        """Take the file that is open now for the one that is to be read."""
        self.path = sqlite3.Connection.execute(self, "PRAGMA database_list").fetchone()[2]
        self.file = _file_at(self.path)

    @property
    def is_outdated(self) -> bool:
        """Whether the file was deleted or replaced: what is written now, nobody would find."""
        return self.file is not None and self.file != _file_at(self.path)

    def set_trace_callback(self, *args: Any, **kwargs: Any) -> None:
        self.note()
        super().set_trace_callback(*args, **kwargs)

    def set_progress_handler(self, *args: Any, **kwargs: Any) -> None:
        self.note()
        super().set_progress_handler(*args, **kwargs)

    def set_authorizer(self, *args: Any, **kwargs: Any) -> None:
        self.note()
        super().set_authorizer(*args, **kwargs)

    def restore(self) -> None:
        super().restore()
        no: Callable[..., Any] | None = None
        super().set_trace_callback(no)
        super().set_progress_handler(no, 0)
        super().set_authorizer(no)
        if self.in_transaction:  # begun where the driver does not roll back
            self.rollback()


def _file_at(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116  # at each checkin: a Path costs thrice as much
    except OSError:
        return None
    return status.st_dev, status.st_ino
