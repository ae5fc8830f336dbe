"""psycopg's connection, with what the pool adds to undo its users' changes."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from psycopg import Connection
from psycopg.adapt import AdaptersMap, PyFormat
from psycopg.types import TypesRegistry

from ...drivers.restorable import Part, Restorable
from ...drivers.session import watched
from ...pooling.descriptors import Descriptor

FACTORIES = ("cursor_factory", "server_cursor_factory")


class RestorableAdapters(Part, AdaptersMap):
    """The adapters of a connection, with a copy of those that the next user must find.

    A session may learn types of the server that are newer than its connection: a migration creates
    the extension postgis or hstore, or code registers an enum.  Their adapters survive a restore.
    An adapter for a type that was known before is a user's own wish, and does not.
    """

    opened: AdaptersMap
    learned: set[int]
    """Oids of types that were registered since the connection was opened."""

    @classmethod
    def adopt(cls, connection: Any) -> None:
        """Make a connection's adapters restorable."""
        adapters = connection.adapters
        adapters.opened = AdaptersMap(adapters)
        adapters.learned = set()
        adapters.__class__ = cls
        adapters.belong_to(connection)

    def register_dumper(self, cls: Any, dumper: Any) -> None:
        super().register_dumper(cls, dumper)
        before = self.opened._dumpers[PyFormat.from_pq(dumper.format)].get(cls)
        is_first = before is None and self._learns(dumper.oid)
        self._keep(is_first, before, dumper, lambda: self.opened.register_dumper(cls, dumper))

    def register_loader(self, oid: int | str, loader: Any) -> None:
        super().register_loader(oid, loader)
        number = self.types[oid].oid if isinstance(oid, str) else oid
        before = self.opened._loaders[loader.format].get(number)
        is_first = before is None and self._learns(number)
        self._keep(is_first, before, loader, lambda: self.opened.register_loader(number, loader))

    def _keep(
        self, is_first: bool, before: Any, adapter: Any, register: Callable[[], object]
    ) -> None:
        """Let the next user have an adapter too, or note that it must be undone."""
        if is_first or (
            before is not None and before is not adapter and _is_remade(before, adapter)
        ):
            register()
        elif before is not adapter:
            self.note()

    def _learns(self, oid: int | None) -> bool:
        """Tell whether an oid is of a type that the connection did not know when it was opened."""
        if not oid or oid in self.learned:
            return bool(oid)
        if self.opened.types.get(oid) is not None:
            return False
        self.learned.add(oid)
        return True

    def restore(self) -> None:
        """Forget users' own adapters.  Types are facts of the server: keep them all."""
        self.opened.types = TypesRegistry(self.types)
        vars(self).update(vars(AdaptersMap(self.opened)))


@lru_cache(maxsize=64)
def watched_on_server(kind: Any) -> Any:
    """Return a subclass of a class of server-side cursors that tells the session more.

    One that was declared WITH HOLD stays on the server until it is closed.
    """
    if not isinstance(kind, type) or hasattr(kind, "tells_session"):
        return kind
    plain = watched(kind)

    def execute(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.withhold and not self.is_held:
            self.is_held = True
            self.connection.session.held += 1
        return plain.execute(self, *args, **kwargs)

    def close(self: Any) -> None:
        plain.close(self)
        if self.is_held:
            self.is_held = False
            self.connection.session.held -= 1

    methods = {"execute": execute, "close": close, "is_held": False}
    return type(kind.__name__, (plain,), {"__module__": kind.__module__, **methods})


def _is_remade(before: type, adapter: type) -> bool:
    """Tell whether one function made both classes, as PostGIS's does for new oids."""
    return (before.__module__, before.__qualname__) == (adapter.__module__, adapter.__qualname__)


class RestorableConnection(Connection[Any], Restorable):
    """psycopg's connection, which can undo what its users changed on it."""

    routine = frozenset({"autocommit", "_autocommit", "_begin_statement", "_num_transactions"})
    beyond = ("prepare_threshold", "prepared_max")

    def adopt_parts(self) -> None:
        self.descriptor = Descriptor(self.fileno())
        RestorableAdapters.adopt(self)
        for name in FACTORIES:
            setattr(self, name, getattr(self, name))

    def __setattr__(self, name: str, value: Any) -> None:
        if name in FACTORIES and self.session is not None:
            value = watched(value) if name == "cursor_factory" else watched_on_server(value)
        super().__setattr__(name, value)

    def add_notice_handler(self, callback: Any) -> None:
        self.note()
        super().add_notice_handler(callback)

    def add_notify_handler(self, callback: Any) -> None:
        self.note()
        super().add_notify_handler(callback)

    def remove_notice_handler(self, callback: Any) -> None:
        self.note()
        super().remove_notice_handler(callback)

    def remove_notify_handler(self, callback: Any) -> None:
        self.note()
        super().remove_notify_handler(callback)

    def restore(self) -> None:
        if self._pipeline is not None:
            raise RuntimeError("the connection is in pipeline mode")
        super().restore()
        adapters: Any = self.adapters
        adapters.restore()
