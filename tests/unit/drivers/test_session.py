"""What a connection's session remembers of the statements that were sent."""

from __future__ import annotations

from typing import Any

import pytest

from django_poolrouter.drivers.session import DOUBT, HELD, Session, watched
from django_poolrouter.sql.marks import Mark

SET = "SET work_mem = '1MB'"
SET_PATH = "SET search_path = one"


class Cursor:
    """A driver's cursor that keeps what it executes."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.sent: list[Any] = []

    def execute(self, statement: Any, params: Any = None) -> Any:
        self.sent.append((statement, params))
        return self


class Connection:
    def __init__(self, session: Session | None) -> None:
        self.session = session


@pytest.fixture
def session() -> Session:
    return Session("postgresql", frozenset({"search_path"}))


def greet(session: Session, *statements: str, parameters: object = None) -> bool:
    session.begin_greeting()
    for statement in statements:
        session.note(statement, parameters)
    return session.end_greeting(lambda: ("now",))


def test_first_mark__stays(session: Session) -> None:
    session.note("SELECT 1")
    assert session.end_lease() is None
    session.note(SET)
    session.note("LISTEN news")
    assert session.end_lease() == Mark("setting", "work_mem")
    session.renew()
    assert session.end_lease() is None


def test_cursor_that_is_held__marks_until_it_is_closed(session: Session) -> None:
    session.held += 1
    assert session.is_marked
    assert session.end_lease() == HELD
    session.held -= 1
    assert session.end_lease() is None


def test_greeting__is_compared_with_the_last(session: Session) -> None:
    assert greet(session, SET, "SELECT 1")
    assert session.reported == ("now",)
    assert greet(session, SET)
    assert not greet(session)
    session.renew()
    assert greet(session)
    assert not greet(session, SET)
    assert not session.is_marked


def test_parameters_of_a_greeting__are_copied(session: Session) -> None:
    values = ["1"]
    assert greet(session, SET, parameters=values)
    values[0] = "2"
    assert not greet(session, SET, parameters=values)


def test_parameters_that_cannot_be_compared__differ(session: Session) -> None:
    class Odd:
        def __eq__(self, other: object) -> bool:
            raise TypeError

        __hash__ = None  # type: ignore[assignment]

    assert greet(session, SET, parameters=[Odd()])
    assert not greet(session, SET, parameters=[Odd()])


def test_receiver_that_fails__leaves_a_doubt(session: Session) -> None:
    session.begin_greeting()
    session.note(SET)
    session.break_greeting()
    assert session.end_lease() == DOUBT
    session.note("LISTEN news")  # and later statements are no greeting


def test_own_settings__do_not_mark(session: Session) -> None:
    session.note(SET_PATH)
    assert not session.is_marked
    assert not session.needs_own_settings(), "sent in this lease"
    session.end_lease()
    assert not session.is_neutral
    assert session.needs_own_settings(), "left by an earlier lease"
    assert not session.needs_own_settings(), "reset by now"


def test_own_settings_sent_again__need_no_reset(session: Session) -> None:
    session.note(SET_PATH)
    session.end_lease()
    session.note(SET_PATH)
    assert not session.needs_own_settings()


def test_watched_cursor__tells_and_executes(session: Session) -> None:
    cursor = watched(Cursor)(Connection(session))
    assert cursor.execute(SET, [1]) is cursor
    assert cursor.sent == [(SET, [1])]
    assert session.end_lease() == Mark("setting", "work_mem")
    assert isinstance(cursor, Cursor)
    assert type(cursor).__name__ == "Cursor"


def test_watched_cursor__calls_what_a_tool_has_patched(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = watched(Cursor)
    monkeypatch.setattr(Cursor, "execute", lambda self, *args: "patched")
    assert kind(Connection(session)).execute("SELECT 1") == "patched"


def test_watched_twice__is_watched_once() -> None:
    assert watched(watched(Cursor)) is watched(Cursor)
    assert watched("no class") == "no class"


def test_connection_without_a_session__is_told_nothing() -> None:
    assert watched(Cursor)(Connection(None)).execute(SET).sent == [(SET, None)]
