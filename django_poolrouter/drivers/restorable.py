"""Connections that know how they were opened, so that the next user finds them like that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar
from weakref import ref


class Restorable:
    """Stands behind a driver's connection class and notes that somebody set an attribute.

    To look at each attribute at each checkin would cost several times as much as the rest
    of the reset; ``changed`` is one look.  Behind, because only so an open connection can
    be made one.
    """

    __slots__ = ()
    routine: ClassVar[frozenset[str]] = frozenset()
    """Attributes that change in the usual course of things; the reset looks at them itself."""
    beyond: ClassVar[tuple[str, ...]] = ()
    """Attributes that are not in the instance's dictionary, and restored too."""
    changed = False

    @classmethod
    def adopt(cls, connection: Any) -> None:
        """Make a connection that was just opened one of these, if it is the driver's own.

        Not passed to connect(): tracing tools replace that, and return what they like.
        """
        kind = type(connection)
        if kind is cls.__bases__[0]:
            connection.__class__ = cls
            connection.adopt_parts()
            connection.remember()

    def adopt_parts(self) -> None:
        """Watch what hangs on the connection and is changed in place."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.routine:
            self.__dict__["changed"] = True
        object.__setattr__(self, name, value)

    def note(self) -> None:
        """Note a change that sets no attribute."""
        self.__dict__["changed"] = True

    def remember(self) -> None:
        """Take what the connection is like now for what it is to be like."""
        further = {name: getattr(self, name) for name in self.beyond}
        vars(self)["opened"] = _copied(vars(self)), further
        vars(self)["changed"] = False

    def restore(self) -> None:
        """Make the connection what it was; its transaction must have ended."""
        own, further = opened = vars(self)["opened"]
        vars(self).clear()
        vars(self).update(_copied(own))
        for name, value in further.items():
            setattr(self, name, value)
        vars(self)["opened"] = opened
        vars(self)["changed"] = False


class Part:
    """Stands before the class of what hangs on a connection and is changed in place."""

    note: Callable[[], object]

    def belong_to(self, connection: Restorable) -> None:
        """Tell ``connection`` of changes from now on."""
        whole = ref(connection)  # else the two live until the garbage collector comes

        def note() -> None:
            if (connection := whole()) is not None:
                connection.note()

        self.note = note


def _copied(attributes: dict[str, Any]) -> dict[str, Any]:
    # Lists are changed in place: psycopg's of handlers, MySQLdb's of messages.
    return {n: v.copy() if isinstance(v, list) else v for n, v in attributes.items()}
