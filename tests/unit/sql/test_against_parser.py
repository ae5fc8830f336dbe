"""A parser of SQL as the judge: what it calls a write or a change of the session is seen as one."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlglot import exp, parse
from sqlglot.errors import SqlglotError

from django_poolrouter.sql.kinds import classify

from .corpus import Known, known_statements

DIALECTS = {"postgresql": "postgres", "mysql": "mysql", "sqlite": "sqlite"}
WRITES = (exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Create, exp.Drop, exp.Alter)
WRITES += (exp.TruncateTable, exp.Into, exp.Comment, exp.Grant, exp.Attach, exp.Detach)
SESSION = (exp.Set, exp.Use, exp.Attach, exp.Detach)
SESSION_COMMANDS = {"CALL", "DO", "EXECUTE", "LISTEN", "LOAD", "LOCK TABLES", "PREPARE", "RESET"}
ONLY_FOR_THE_TRANSACTION = ("SET LOCAL", "SET TRANSACTION", "SET CONSTRAINTS")
PIECES = (
    "'", "'", '"', "`", "\\", "\\\\", "''", '""', "--", "-- ", "#", "/*", "*/", "/*!", "\n", "\r",
    ";", ";", " ", " ", "$$", "$a$", "e'", "E'", "n'", "[", "]", "(", ")", ",", "x", "1", "1e5",
    " insert into t values (1) ", " update t set a = 1 ", " delete from t ", " into t ", "%s",
    " set a.b = 1 ", " set sql_mode = 1 ", " select ", " with q as (select 1) ", " from t ", ":a",
    "@a", "%%", "\N{LATIN SMALL LETTER E WITH ACUTE}", "\N{NO-BREAK SPACE}",
)  # fmt: skip
# Without what only a driver understands.
TEXTS = [row for row in known_statements() if row.vendor in DIALECTS and "%" not in row.sql]
TEXTS_OF = {vendor: [row for row in TEXTS if row.vendor == vendor] for vendor in DIALECTS}


@pytest.fixture(autouse=True, scope="module")
def _quiet() -> Iterator[None]:
    """The parser logs what it can only pass on."""
    logging.getLogger("sqlglot").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("sqlglot").setLevel(logging.NOTSET)


def trees_of(text: str, vendor: str) -> list[exp.Expression]:
    """Return what the parser makes of a text; nothing if it cannot read it."""
    try:
        return [tree for tree in parse(text, dialect=DIALECTS[vendor]) if tree is not None]
    except SqlglotError:
        return []


def is_write(tree: exp.Expression) -> bool:
    return tree.find(*WRITES) is not None


def changes_session(tree: exp.Expression, vendor: str) -> bool:
    text = tree.sql(dialect=DIALECTS[vendor]).upper()
    if isinstance(tree, exp.Command):
        is_command = str(tree.this).upper() in SESSION_COMMANDS
        return is_command and not text.startswith("PREPARE TRANSACTION")
    is_short = vendor == "postgresql" and text.startswith(ONLY_FOR_THE_TRANSACTION)
    return isinstance(tree, SESSION) and not is_short


def check(text: str, vendor: str) -> None:
    kind = classify(text, vendor)
    trees = trees_of(text, vendor)
    if any(map(is_write, trees)):
        assert kind.is_write
        assert not kind.is_query
    if any(changes_session(tree, vendor) for tree in trees):
        assert kind.mark is not None
        assert not kind.is_query


def test_parser__reads_most_of_the_corpus_and_finds_writes_in_it() -> None:
    found = [tree for row in TEXTS for tree in trees_of(row.sql, row.vendor)]
    assert len(found) > 0.8 * len(TEXTS)
    assert sum(map(is_write, found)) > 200
    assert sum(changes_session(tree, "postgresql") for tree in found) > 50


@pytest.mark.parametrize("vendor", DIALECTS)
def test_write_and_change_of_the_session__are_seen_in_the_corpus(vendor: str) -> None:
    for row in TEXTS_OF[vendor]:
        check(row.sql, vendor)


@given(st.sampled_from(sorted(DIALECTS)), st.lists(st.sampled_from(PIECES), max_size=12))
def test_write_and_change_of_the_session__are_seen_behind_quotes_and_comments(
    vendor: str, pieces: list[str]
) -> None:
    check("select " + "".join(pieces), vendor)


def two_of(vendor: str) -> st.SearchStrategy[tuple[Known, Known]]:
    return st.tuples(st.sampled_from(TEXTS_OF[vendor]), st.sampled_from(TEXTS_OF[vendor]))


@given(st.sampled_from(sorted(DIALECTS)).flatmap(two_of), st.lists(st.sampled_from(PIECES)))
def test_second_statement__is_seen_whatever_stands_between(
    two: tuple[Known, Known], pieces: list[str]
) -> None:
    first, second = two
    check(f"{first.sql}{''.join(pieces)};{second.sql}", first.vendor)


@given(st.sampled_from(sorted(DIALECTS)), st.lists(st.sampled_from(PIECES)), st.data())
def test_write_in_quotes__is_no_write(vendor: str, pieces: list[str], data: st.DataObject) -> None:
    """If the text is not in doubt: then the closing quote was found where it is."""
    quote = data.draw(st.sampled_from("'\"" if vendor == "postgresql" else "'\"`"))
    inside = "".join(pieces).replace(quote, quote * 2)
    kind = classify(f"select {quote}{inside}{quote} from t", vendor)
    assert kind.is_query or kind.why.startswith("in doubt")
    if not set("\\%") & set(inside):
        assert kind.is_query
