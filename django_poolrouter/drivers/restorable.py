"""Connections that remember how they were opened, so that they can be restored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar
from weakref import ref

from .session import Session


class Restorable:
    """A mixin for a driver's connection class that notes when an attribute was set.

    Comparing each attribute at each checkin would cost several times as much as the rest of
    the reset; reading ``changed`` costs almost nothing.  List the mixin after the driver's
    class.  Only then can an open connection change its class (see ``adopt``).
    """

    __slots__ = ()
    routine: ClassVar[frozenset[str]] = frozenset()
    """Attributes that change in normal use; the reset checks them itself."""
    beyond: ClassVar[tuple[str, ...]] = ()
    """Attributes that are not in the instance's ``__dict__``, but are restored too."""
    changed = False
    session: Session | None = None
    """What the connection's user has sent; None if the pool need not know."""

    @classmethod
    def adopt(cls, connection: Any, session: Session | None) -> None:
        """Change the class of a connection that was just opened, if it is the driver's own.

        The class is not passed to connect(), because tracing tools replace that function and
        may return an object of another class.  Most such objects stand before the driver's.
        """
        connection = getattr(connection, "__wrapped__", connection)
        if type(connection) is cls.__bases__[0]:
            connection.__class__ = cls
        if isinstance(connection, cls):
            vars(connection)["session"] = session
            connection.adopt_parts()
            connection.remember()

    def adopt_parts(self) -> None:
        """Watch the connection's objects that are changed in place."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.routine:
            self.__dict__["changed"] = True
        object.__setattr__(self, name, value)

    def note(self) -> None:
        """Note a change that sets no attribute."""
        self.__dict__["changed"] = True

    def remember(self) -> None:
        """Remember the connection's current state as the one to restore."""
        further = {name: getattr(self, name) for name in self.beyond}
        vars(self)["opened"] = _copied(vars(self)), further
        vars(self)["changed"] = False

    def restore(self) -> None:
        """Restore the remembered state; the connection's transaction must have ended."""
        own, further = opened = vars(self)["opened"]
        vars(self).clear()
        vars(self).update(_copied(own))
        for name, value in further.items():
            setattr(self, name, value)
        vars(self)["opened"] = opened
        vars(self)["changed"] = False


class Part:
    """A mixin for objects of a connection that are changed in place; list it first."""

    note: Callable[[], object]

    def belong_to(self, connection: Restorable) -> None:
        """Report changes to ``connection`` from now on."""
        whole = ref(connection)  # a cycle would keep both until a garbage collection

        def note() -> None:
            if (connection := whole()) is not None:
                connection.note()

        self.note = note


def _copied(attributes: dict[str, Any]) -> dict[str, Any]:
    # Lists are changed in place: psycopg's handlers, MySQLdb's messages.
    return {n: v.copy() if isinstance(v, list) else v for n, v in attributes.items()}
