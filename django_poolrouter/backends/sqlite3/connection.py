"""sqlite3's connection, with what the pool adds to undo its users' changes."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from typing import Any

from ...drivers.restorable import Restorable
from ...drivers.session import watched
from ...sql.marks import Mark

# Python 3.12 added this second way to control transactions.
CONTROLS = ("autocommit",) if hasattr(sqlite3.Connection, "autocommit") else ()
# Methods that change the connection until it is closed.  Python 3.12 added two of them.
LASTING = (
    *("create_aggregate", "create_collation", "create_function", "create_window_function"),
    *("deserialize", "enable_load_extension", "load_extension", "setconfig", "setlimit"),
)


class RestorableConnection(sqlite3.Connection, Restorable):
    """sqlite3's connection, which can undo what its users changed on it."""

    routine = frozenset({"isolation_level"})
    beyond = ("row_factory", "text_factory", *CONTROLS)
    path = ""
    file: tuple[int, int] | None = None

    def adopt_parts(self) -> None:
        self.note_file()

    def cursor(self, factory: Any = sqlite3.Cursor) -> Any:
        """Return a cursor that tells the session what it executes."""
        return super().cursor(watched(factory) if self.session is not None else factory)

    def execute(self, *args: Any) -> Any:
        return self.cursor().execute(*args)

    def executemany(self, *args: Any) -> Any:
        return self.cursor().executemany(*args)

    def executescript(self, *args: Any) -> Any:
        return self.cursor().executescript(*args)

    def note_file(self) -> None:
        """Remember which file the connection has open."""
        self.path = sqlite3.Connection.execute(self, "PRAGMA database_list").fetchone()[2]
        self.file = _file_at(self.path)

    @property
    def is_outdated(self) -> bool:
        """Whether the file was deleted or replaced, so that writes would be lost."""
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
        nothing: Callable[..., Any] | None = None
        super().set_trace_callback(nothing)
        super().set_progress_handler(nothing, 0)
        super().set_authorizer(nothing)
        if self.in_transaction:  # with autocommit=True, the driver's rollback() did nothing
            self.rollback()


def _told(name: str) -> Callable[..., Any]:
    """Return a method that tells the session of its call."""

    def call(self: RestorableConnection, *args: Any, **kwargs: Any) -> Any:
        if self.session is not None:
            self.session.note_call(Mark("attached"), name, args, kwargs)
        return getattr(sqlite3.Connection, name)(self, *args, **kwargs)

    call.__name__ = name
    return call


for _name in LASTING:
    if hasattr(sqlite3.Connection, _name):  # a build may lack loading extensions
        setattr(RestorableConnection, _name, _told(_name))


def _file_at(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116  # runs at each checkin; Path takes 3 times as long
    except OSError:
        return None
    return status.st_dev, status.st_ino
