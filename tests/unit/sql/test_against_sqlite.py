"""SQLite itself as the judge: what it runs as a write or a PRAGMA is classified as one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_poolrouter.sql.kinds import classify

WRITES = {sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE}
CHANGES = {sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_CREATE_TEMP_TABLE, sqlite3.SQLITE_PRAGMA}
PIECES = (
    "'", "'", '"', "`", "[", "]", "\\", "''", "--", "/*", "*/", "\n", "\r", ";", ";", " ", " ",
    " insert into t values (1) ", " update t set n = 1 ", " replace into t values (2) ",
    " pragma cache_size = 7 ", " create temp table u (a) ", " select ", " select 1 ", " from t ",
    " with q as (select 1) ", "(", ")", ",", "n", "1", "1e5", "x'", "#", "::", "$a(", "@a", "?",
    "/", "-", "*", "||", "\f", "\v", "\ufeff", "\N{LATIN SMALL LETTER E WITH ACUTE}",
)  # fmt: skip


@pytest.fixture(scope="module")
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as made:
        made.execute("create table t (n)")
        yield made


def actions_of(connection: sqlite3.Connection, text: str) -> set[int]:
    """Return what SQLite would do for the statements of a text that it understands."""
    seen: set[int] = set()

    def note(action: int, *arguments: object) -> int:
        # A PRAGMA with a value sets it.
        if action != sqlite3.SQLITE_PRAGMA or arguments[1] is not None:
            seen.add(action)
        return sqlite3.SQLITE_OK

    connection.set_authorizer(note)
    try:
        connection.executescript(f"savepoint a; {text}\n; rollback")
    except (sqlite3.Error, sqlite3.Warning, ValueError):
        pass
    finally:
        connection.set_authorizer(None)
        if connection.in_transaction:
            connection.execute("rollback")
    return seen


@given(text=st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
def test_what_sqlite_would_do__is_seen_in_the_text(
    connection: sqlite3.Connection, text: str
) -> None:
    text = f"select {text}"
    kind, actions = classify(text, "sqlite"), actions_of(connection, text)
    assert kind.is_write or not actions & WRITES
    assert kind.mark is not None or not actions & CHANGES
    assert not kind.is_query or not actions & (WRITES | CHANGES)


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("select '\\';insert into t values (1)--'", sqlite3.SQLITE_INSERT),
        ("select /* /* */ 1;update t set n = 1", sqlite3.SQLITE_UPDATE),
        ("select [a'] from (select 1 as \"a'\");pragma cache_size = 7", sqlite3.SQLITE_PRAGMA),
        ("select 1; create temp table u (a)", sqlite3.SQLITE_CREATE_TEMP_TABLE),
    ],
)
def test_sqlite__tells_what_it_would_do(
    connection: sqlite3.Connection, text: str, action: int
) -> None:
    assert action in actions_of(connection, text)
    assert not classify(text, "sqlite").is_query
