"""What is said of statements that a line of the corpus cannot hold, and in what time."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import astuple
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql as psycopg_sql

from django_poolrouter.sql import kinds
from django_poolrouter.sql.kinds import Kind, classify
from django_poolrouter.sql.marks import MARKS, TABLES, Mark

VENDORS = ("postgresql", "mysql", "sqlite", "oracle", "microsoft", "other")
WITH_MARKS = ("postgresql", "mysql", "sqlite")


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("text", ["", " \n\t", ";", " ; ;", "-- nothing", "/* nothing */", b" "])
def test_text_without_a_statement__does_nothing(text: str | bytes, vendor: str) -> None:
    kind = classify(text, vendor)
    assert not any(value for value in astuple(kind) if value != kind.why)
    assert kind.why == "it holds no statement"


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(
    "text",
    [
        "\n\t  SELECT 1",
        "-- why\nSELECT 1",
        "-- why\n  -- else\n  SELECT 1",
        "/*\n * two lines\n */\nSELECT 1",
        "-- INSERT\nSELECT\n1\n-- DELETE",
        "((\nSELECT 1) UNION (SELECT 2))",
        "SELECT 'a\nINSERT INTO t'",
        "SELECT *\nFROM t\nFOR\nUPDATE",
    ],
)
def test_read_on_several_lines__is_a_read(text: str, vendor: str) -> None:
    kind = classify(text, vendor)
    assert kind.is_query
    assert not kind.is_write
    assert kind.mark is None


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(
    "text",
    [
        "-- SELECT\nDELETE FROM t",
        "/* SELECT */\nDELETE FROM t",
        "SELECT 1 --\nINTO t",
        "SELECT 1;\n\nDELETE FROM t",
        "SELECT 1; -- one\nSELECT 2; /* two */ TRUNCATE t",
    ],
)
def test_write_behind_a_line__is_a_write(text: str, vendor: str) -> None:
    assert classify(text, vendor).is_write


def test_end_of_a_line__is_what_the_server_takes_for_one() -> None:
    text = "SELECT 1 -- a\rINTO t"
    assert classify(text, "postgresql").why == "SELECT … INTO"
    assert not classify(text, "mysql").is_write
    assert not classify(text, "sqlite").is_write
    assert classify(text, "other").why == "in doubt: a comment"


def test_blank_beyond_ascii__is_in_doubt_outside_of_quotes() -> None:
    """Some servers skip it, and then see a word that is a name to others."""
    for blank, vendor in itertools.product("\xa0\u3000\ufeff\u2028", VENDORS):
        assert classify(f"WITH x AS (SELECT 1){blank}DELETE FROM t", vendor).is_write
        assert classify(f"SELECT '{blank}'", vendor).is_query


def test_nul__is_in_doubt() -> None:
    for vendor in VENDORS:
        assert classify("SELECT 1\0", vendor).why == "in doubt: it holds a NUL"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("SELECT 'a", "a quote is not closed"),
        ("SELECT 'a\\' -- '", "a backslash before a quote"),
        ("SELECT 'a %s'", "a placeholder in quotes"),
        ('SELECT "a %(b)s"', "a placeholder in quotes"),
        ("SELECT $$a$$", "what '$' begins"),
        ("SELECT /* /* */ 1", "a comment"),
        ("SELECT 1 /* %s */", "a comment"),
        ("SELECT {1}", "what '{' begins"),
        ("'a' SELECT", "it begins with no word"),
    ],
)
def test_doubt__says_where_it_comes_from(text: str, why: str) -> None:
    kind = classify(text, "postgresql")
    assert (kind.is_write, kind.is_query, kind.mark) == (True, False, Mark("doubt"))
    assert kind.why == f"in doubt: {why}"


@pytest.mark.parametrize("sql", [None, 5, object(), psycopg_sql.Composable])
def test_text_that_is_not_known__is_in_doubt(sql: object) -> None:
    kind = classify(sql, "postgresql")
    assert kind == Kind(
        is_write=True,
        is_query=False,
        why="in doubt: its text is not known",
        mark=Mark("doubt"),
        certain="",
        may_query=True,
        controls_transaction=False,
        may_begin=True,
        may_lock_tables=True,
    )


class Psycopg2Composed:
    """Needs a connection to become text."""

    def as_string(self, context: Any) -> str:
        raise TypeError("argument 2 must be a connection or a cursor")


class Statement:
    """Of a library that needs no context."""

    def as_string(self) -> str:
        return "DELETE FROM t"


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        (psycopg_sql.SQL("SELECT * FROM {}").format(psycopg_sql.Identifier("update")), "SELECT"),
        (psycopg_sql.SQL("DELETE FROM t"), "DELETE"),
        (Statement(), "DELETE"),
        (Psycopg2Composed(), "in doubt: its text is not known"),
        (b"SELECT 'caf\xc3\xa9'", "SELECT"),
        (bytearray(b"UPDATE t SET a = 1"), "UPDATE"),
        (b"SELECT 'caf\xe9'", "in doubt: the text is not UTF-8"),
    ],
)
def test_what_is_no_str__is_read_if_it_can_be(sql: object, why: str) -> None:
    assert classify(sql, "postgresql").why == why


def test_long_text__is_classified_like_a_short_one_but_not_kept() -> None:
    kept = kinds._kept.cache_info().currsize
    values = ", ".join(f"({number}, 'into')" for number in range(1_000))
    assert classify(f"INSERT INTO t VALUES {values}", "postgresql").why == "INSERT"
    assert classify(f"SELECT * FROM t WHERE a IN ({values})", "postgresql").is_query
    assert kinds._kept.cache_info().currsize == kept


def test_bytes__push_nothing_out_of_what_is_kept() -> None:
    kept = kinds._kept.cache_info().currsize
    assert classify(b"SELECT 'values that a driver put in'", "mysql").is_query
    assert kinds._kept.cache_info().currsize == kept


@pytest.mark.parametrize(
    ("text", "begins"),
    [
        ("SELECT 1", False),
        ("INSERT INTO t VALUES ('; BEGIN')", False),
        (b"INSERT INTO t VALUES ('it\\'s')", False),
        (b"INSERT INTO t VALUES ('it\\'s; BEGIN')", True),
        (b"INSERT INTO t VALUES (_binary'\xff\xfe')", False),
        ("UPDATE t SET n = 1", False),
        ("REPLACE INTO t VALUES (1)", False),
        ("DO SLEEP(1)", False),
        ("SAVEPOINT `a`", False),
        ("RELEASE SAVEPOINT `a`", False),
        ("ROLLBACK TO SAVEPOINT `a`", False),
        ("/* why */ SELECT 1", False),
        ("ROLLBACK", True),
        ("ROLLBACK AND CHAIN", True),
        ("BEGIN", True),
        ("START TRANSACTION", True),
        ("SET autocommit = 0", True),
        ("XA START 'a'", True),
        ("CALL p()", True),
        ("EXECUTE s", True),
        ("CREATE TABLE t (a int)", True),
        ("SELECT 1; BEGIN", True),
        ("SELECT 1 /*! ; BEGIN */", True),
        ("/*! BEGIN */", True),
    ],
)
def test_statement_of_mysql__may_begin_a_transaction(text: str | bytes, begins: bool) -> None:
    assert classify(text, "mysql").may_begin is begins


@pytest.mark.parametrize(
    ("text", "locks"),
    [
        ("LOCK TABLES t READ", True),
        ("FLUSH TABLES WITH READ LOCK", True),
        ("FLUSH TABLES t FOR EXPORT", True),
        ("EXECUTE IMMEDIATE 'LOCK TABLES t READ'", True),
        ("EXECUTE s", True),
        ("SELECT 1; LOCK TABLES t READ", True),
        (b"LOCK TABLES t READ -- \xff", True),
        ("BEGIN", False),
        ("SELECT clock, block FROM t", False),
        ("CREATE TABLE blocks (a int)", False),
    ],
)
def test_statement_of_mysql__may_lock_tables(text: str | bytes, locks: bool) -> None:
    assert classify(text, "mysql").may_lock_tables is locks


@pytest.mark.parametrize(
    ("text", "may_query"),
    [
        ("SELECT 1", True),
        ("SELECT 1; SELECT 2", True),
        ("SELECT $$a$$", True),
        ("(SELECT 'a", True),
        ("INSERT INTO t VALUES ($$a$$)", False),
        ("SHOW ALL", False),
        ("SAVEPOINT a", False),
    ],
)
def test_text_that_begins_like_a_query__may_be_one(text: str, may_query: bool) -> None:
    assert classify(text, "postgresql").may_query is may_query


@pytest.mark.parametrize(
    "text",
    [
        *("BEGIN", "START TRANSACTION", "COMMIT", "END", "ROLLBACK", "ABORT"),
        *('SAVEPOINT "a"', 'RELEASE SAVEPOINT "a"', 'ROLLBACK TO SAVEPOINT "a"'),
    ],
)
def test_control_of_a_transaction__is_known(text: str) -> None:
    assert classify(text, "postgresql").controls_transaction
    assert not classify(f"EXPLAIN {text}", "postgresql").controls_transaction


@pytest.mark.parametrize("vendor", WITH_MARKS)
def test_table_of_marks__names_each_first_word_once_and_known_kinds_only(vendor: str) -> None:
    table = TABLES[vendor]
    assert table.harmless.isdisjoint(table.first)
    kinds_used = {*table.first.values(), *table.words.values(), *dict(table.phrases)}
    assert kinds_used <= set(MARKS)


SIGNS = "sel'\"`[](){}$@:;%\\/*-#=,.!?&|~ \n\0eu1\u017f\u0130\xa0"


@pytest.mark.parametrize("vendor", VENDORS)
@given(
    text=st.text(
        alphabet=st.sampled_from("sel'\"`[](){}$@:;%\\/*-#=,.!?&|~ \n\0eu1\u017f\u0130\xa0")
    )
)
def test_any_text__has_a_kind(vendor: str, text: str) -> None:
    kind = classify(f"set {text}", vendor)
    assert not (kind.is_write and kind.is_query)
    assert kind.why
    assert vendor in WITH_MARKS or kind.mark is None


HOSTILE = (
    "'",
    '"',
    "`",
    "[",
    "(",
    " ",
    "/*",
    "/**/",
    "/*!",
    "--\n",
    "#",
    "\\",
    "\\\\",
    "'a",
    "%(",
    "'%%",
)
SLOW = ("a ", "a;", "set_config(", '"set_config"(', "into temp ", "for update ", "/*! a */", '"a"(')


@pytest.mark.parametrize("vendor", ["postgresql", "mysql", "sqlite", "other"])
def test_hostile_text__takes_no_time_that_grows_with_its_square(vendor: str) -> None:
    """Some seconds in all; a pattern that looks again at what it has seen takes hours."""
    for piece in HOSTILE:
        assert classify(f"select {piece * 200_000}", vendor).why
    for piece in SLOW:
        assert classify(f"select {piece * 5_000}", vendor).why


def test_call_with_endless_arguments__is_not_read_to_its_end() -> None:
    text = f"SELECT set_config('a.b', {'(' * 200}1{')' * 200}, true)"
    assert classify(text, "postgresql").mark == Mark("setting")


def counted(calls: Callable[[], object]) -> int:
    """Return how often a text was classified, and not found."""
    before = kinds._kept.cache_info().misses
    calls()
    return kinds._kept.cache_info().misses - before


def test_text_that_was_seen__is_not_looked_at_again() -> None:
    text = "SELECT 'a text of its own'"
    assert counted(lambda: [classify(text, "postgresql") for _ in range(3)]) == 1
    assert counted(lambda: classify(text, "mysql")) == 1
