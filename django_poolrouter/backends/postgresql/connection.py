"""psycopg's connection, with what the pool adds to undo its users' changes."""

from __future__ import annotations

from typing import Any

from psycopg import Connection
from psycopg.adapt import AdaptersMap

from ...drivers.restorable import Part, Restorable


class RestorableAdapters(Part, AdaptersMap):
    """The adapters of a connection, with a copy of those that it was opened with."""

    opened: AdaptersMap

    def register_dumper(self, *args: Any, **kwargs: Any) -> None:
        self.note()
        super().register_dumper(*args, **kwargs)

    def register_loader(self, *args: Any, **kwargs: Any) -> None:
        self.note()
        super().register_loader(*args, **kwargs)

    def restore(self) -> None:
        """Forget what was registered since the connection was opened."""
        vars(self).update(vars(AdaptersMap(self.opened)))


class RestorableConnection(Connection[Any], Restorable):
    """psycopg's connection, which can undo what its users changed on it."""

    routine = frozenset({"autocommit", "_autocommit", "_begin_statement", "_num_transactions"})
    beyond = ("prepare_threshold", "prepared_max")

    def adopt_parts(self) -> None:
        adapters: Any = self.adapters
        adapters.opened = AdaptersMap(adapters)
        adapters.__class__ = RestorableAdapters
        adapters.belong_to(self)

    def add_notice_handler(self, callback: Any) -> None:
        self.note()
        super().add_notice_handler(callback)

    def add_notify_handler(self, callback: Any) -> None:
        self.note()
        super().add_notify_handler(callback)

    def restore(self) -> None:
        if self._pipeline is not None:
            raise RuntimeError("the connection is in pipeline mode")
        super().restore()
        adapters: Any = self.adapters
        adapters.restore()
