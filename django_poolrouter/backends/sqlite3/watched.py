"""The standard library's connection, as the pool wants it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from ..watched import Watched

# Python 3.12 and later have another way to control transactions besides.
CONTROLS = ("autocommit",) if hasattr(sqlite3.Connection, "autocommit") else ()


class WatchedConnection(sqlite3.Connection, Watched):
    """SQLite's connection, which gives up what its users made of it."""

    routine = frozenset({"isolation_level"})
    beyond = ("row_factory", "text_factory", *CONTROLS)

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
