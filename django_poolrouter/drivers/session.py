"""What the user of a connection has sent, as far as it changes the session.

The server keeps some of it: a SET, a lock, a temporary table.  The next user must not find it.  So
each connection has a ``Session``, and the cursors that the connection makes tell it each statement
before they send it.  Nothing is asked of the server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any, NamedTuple

from ..sql.kinds import Kind, classify
from ..sql.marks import Mark

DOUBT, HELD = Mark("doubt"), Mark("cursor")
# Methods of a driver's cursors that take a statement first.
STATEMENTS = ("execute", "executemany", "executescript", "stream", "copy")

Reported = tuple[Any, ...]


# What a receiver may send again on the same session.  To send anything else twice fails or adds up,
# and what users do with it marks nothing: an INSERT into a temporary table.
_REPEATABLE = frozenset({"setting", "variable", "listen"})


class Sent(NamedTuple):
    """A statement or call that may have changed a session, with its parameters.

    ``mark`` is None if it may be sent again on the same session.
    """

    what: object
    parameters: object
    mark: Mark | None


class Session:
    """What one connection's user has sent; the holder of the lease owns it.

    Receivers of ``connection_created`` run at each checkout.  What they send is compared with what
    they sent at the last checkout of the same connection: if it is the same, it changes nothing.

    Args:
        vendor: Django's name of the vendor, which says how to read a statement.
        own_settings: settings that the backend sends again for each lease.
        reported: what the server reported about the session after opening it.

    """

    __slots__ = (
        *("_greeting", "_heard", "_own_left", "_own_sent", "_vendor"),
        *("greeting_mark", "held", "mark", "own_settings", "reported"),
    )

    def __init__(self, vendor: str, own_settings: frozenset[str], reported: Reported = ()) -> None:
        self._vendor = vendor
        self.own_settings = own_settings
        self._heard: list[Sent] | None = None
        self.held = 0
        """How many cursors are open that outlive a transaction."""
        self.renew(reported)

    def renew(self, reported: Reported = ()) -> None:
        """Note that the session is as if just opened."""
        self.mark: Mark | None = None
        self.greeting_mark: Mark | None = None
        """What receivers sent that they cannot send again on the same session."""
        self.reported = reported
        self.held = 0
        self._own_sent = self._own_left = False
        self._greeting: list[Sent] | None = None

    @property
    def is_marked(self) -> bool:
        """Whether the user has changed the session, as far as the statements tell."""
        return bool(self.mark or self.greeting_mark or self.held)

    @property
    def is_greeted(self) -> bool:
        """Whether the session has what receivers sent at the last checkout."""
        return bool(self._greeting)

    @property
    def is_neutral(self) -> bool:
        """Whether a user finds nothing that another one needed, receivers and backend included."""
        return not (self.is_marked or self._greeting or self._own_left)

    def end_lease(self) -> Mark | None:
        """Return what the user has left in the session, if anything."""
        if self._own_sent:
            self._own_sent, self._own_left = False, True
        return self.mark or self.greeting_mark or (HELD if self.held else None)

    def needs_own_settings(self) -> bool:
        """Tell whether the backend's own settings are still those of an earlier lease.

        A transaction must not begin then.  Its rollback would undo what the backend sends in it,
        and bring back the settings of another user.  Call this when one begins.
        """
        needs = self._own_left and not self._own_sent
        self._own_left = False
        return needs

    # -- what the user sends ----------------------------------------------------------------

    def note(self, statement: object, parameters: object = None) -> Kind:
        """Note a statement before it is sent; return what its text says."""
        kind = classify(statement, self._vendor)
        mark = kind.mark
        if mark is not None:
            if mark.setting and mark.setting in self.own_settings:
                self._own_sent = True
            else:
                self._note(mark, statement, parameters, repeats=mark.kind in _REPEATABLE)
        return kind

    def note_call(self, mark: Mark, name: str, *parameters: object) -> None:
        """Note the call of a method that changes the session, and that may be called again."""
        self._note(mark, name, parameters, repeats=True)

    def _note(self, mark: Mark, what: object, parameters: object, *, repeats: bool) -> None:
        if self._heard is not None:
            self._heard.append(Sent(what, _frozen(parameters), None if repeats else mark))
        elif self.mark is None:
            self.mark = mark

    # -- what receivers send ------------------------------------------------------------------

    def begin_greeting(self) -> None:
        """Collect what the receivers of ``connection_created`` send from now on."""
        self._heard = []

    def break_greeting(self) -> None:
        """Note that a receiver failed, so that nothing is known about what they sent."""
        heard, self._heard = self._heard, None
        if heard:
            self.mark = DOUBT

    def end_greeting(self, reported: Callable[[], Reported]) -> bool:
        """Return whether the session now has what its receivers sent, and nothing else.

        The lease is marked if they sent something that cannot be sent again on the same session.

        Args:
            reported: returns what the server reports about the session.

        """
        heard, self._heard = self._heard or [], None
        if self._greeting is None:
            self._greeting = heard
            if heard:
                self.reported = reported()
            self.greeting_mark = next((sent.mark for sent in heard if sent.mark), None)
            return True
        try:
            return bool(heard == self._greeting)
        except Exception:  # parameters that cannot be compared
            return False


def _frozen(parameters: object) -> object:
    """Return a copy of parameters that can be compared with those of another call.

    A receiver makes its functions each time it runs.  Two of them are the same if they have the
    same code and the same values.
    """
    if isinstance(parameters, Mapping):
        return {name: _frozen(value) for name, value in parameters.items()}
    if isinstance(parameters, list | tuple):
        return [_frozen(value) for value in parameters]
    if isinstance(parameters, FunctionType):
        code: CodeType = parameters.__code__
        try:
            cells = [cell.cell_contents for cell in parameters.__closure__ or ()]
        except ValueError:  # a cell that has no value yet
            return parameters
        return [code, cells, parameters.__defaults__, parameters.__kwdefaults__]
    return parameters


@lru_cache(maxsize=64)
def watched(kind: Any) -> Any:
    """Return a subclass of a driver's cursor class that tells the session each statement."""
    if not isinstance(kind, type) or hasattr(kind, "tells_session"):
        return kind
    methods = {name: _telling(kind, name) for name in STATEMENTS if hasattr(kind, name)}
    names = {"__module__": kind.__module__, "__doc__": kind.__doc__, "tells_session": True}
    return type(kind.__name__, (kind,), {**names, **methods})


def _telling(kind: Any, name: str) -> Callable[..., Any]:
    def call(self: Any, statement: Any, *args: Any, **kwargs: Any) -> Any:
        session = self.connection.session
        if session is not None:
            session.note(statement, args or kwargs)
        # Looked up at each call, because tools replace these methods.
        return getattr(kind, name)(self, statement, *args, **kwargs)

    call.__name__ = name
    return call
