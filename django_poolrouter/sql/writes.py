"""Whether a statement may have changed data, by its text: one table for each vendor.

The text does not tell what functions do.  A vendor without a table of its own has the general one.
It expects nothing between two statements, since SQL Server needs nothing there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from .arguments import pragma
from .statement import CODE_COMMENTS, Statement, words

Certain = Literal["", "rows", "locks", "tables"]
# First words of statements that ask for rows.
QUERIES = words("select table values with")
CONTROLS = words("abort begin commit end release rollback savepoint start")
# These make a write of a statement that begins like a read: WITH … UPDATE, SELECT … INTO.
WRITING_WORDS = words("delete insert into merge update")

_WRITING = re.compile(r" (delete|insert|into|merge|update)(?= )")
_ROW_LOCK = re.compile(r" for (?:no key )?update(?= )")


@dataclass(frozen=True, slots=True)
class Writes:
    """Which statements of one vendor are writes.

    Args:
        reads: first words of statements that change no data, unless something below says so.
        words: words that make a write of a statement wherever they stand.
        phrases: patterns for the beginning of statements that are writes nevertheless.
        explained: words that make a write of EXPLAIN ANALYZE.

    """

    reads: frozenset[str]
    words: frozenset[str] = frozenset()
    phrases: tuple[re.Pattern[str], ...] = ()
    explained: frozenset[str] = frozenset()

    def reason(self, statement: Statement) -> str:
        """Say in English why a statement is a write.  Empty if it is not."""
        first = statement.first
        if first not in self.reads:
            return first.upper() or "in doubt: it begins with no word"
        inside = _WRITING.search(_ROW_LOCK.sub("", statement.code))
        if inside is not None:
            return f"{first.upper()} … {inside[1].upper()}"
        telling = self.words | self.explained if _is_run_by_explain(statement) else self.words
        for word in sorted(telling & statement.words):
            return f"{first.upper()} … {word.upper()}"
        for phrase in self.phrases:
            if match := phrase.match(statement.code):
                return match[0].strip().upper()
        return _reason_of_pragma(statement)


# First words of statements that change rows, and that change what tables there are.
_CHANGES = words("delete insert merge replace update")
_DEFINITIONS = words("alter create drop truncate")
_TEMPORARY = words("temp temporary")
_CHANGE_IN_WITH = re.compile(r" (?:delete from|insert into|merge into|update \S+ set) ")
_LOCK = re.compile(r" (?:for (?:no key )?update|for (?:key )?share|lock in share mode)(?= )")


def certainty(statement: Statement) -> Certain:
    """Say what a statement changes or locks for certain, on any vendor."""
    first, code = statement.first, statement.code
    if not CODE_COMMENTS.isdisjoint(statement.words):
        return ""
    if first in _CHANGES or (first == "with" and _CHANGE_IN_WITH.search(code)):
        return "rows"
    if first in _DEFINITIONS and statement.words.isdisjoint(_TEMPORARY):
        return "tables"
    return "locks" if first in QUERIES and _LOCK.search(code) else ""


def _is_run_by_explain(statement: Statement) -> bool:
    is_run = "analyze" in statement.words or "analyse" in statement.words
    return statement.first == "explain" and is_run


# PRAGMAs that change the file when they have a value.
_WRITING_PRAGMAS = words(
    "application_id auto_vacuum encoding journal_mode page_size schema_version user_version"
)


def _reason_of_pragma(statement: Statement) -> str:
    if statement.first != "pragma":
        return ""
    name, sets = pragma(statement.tokens)
    return f"PRAGMA {name} = …" if sets and name in _WRITING_PRAGMAS else ""


_START = re.compile(r" start (?!transaction )\S*")

POSTGRESQL = Writes(
    reads=words(
        "select table values with explain show set reset discard declare fetch close"
        " listen unlisten deallocate"
        " begin start commit end abort rollback savepoint release"
    ),
    phrases=(_START, re.compile(r" (?:commit|rollback) prepared ")),
    explained=words("create execute refresh"),
)
MYSQL = Writes(
    reads=words(
        "select table values with explain describe desc show set use"
        " begin start commit rollback savepoint release"
    ),
    phrases=(
        _START,
        re.compile(r" begin not "),
        re.compile(r" set (?:password|default role|statement) "),
    ),
)
SQLITE = Writes(
    reads=words("select values with explain pragma begin commit end rollback savepoint release"),
)
GENERAL = Writes(
    reads=words(
        "select table values with explain describe desc show set reset use"
        " declare fetch close listen unlisten"
        " begin start commit rollback savepoint release"
    ),
    # On SQL Server no semicolon announces the next statement.  EXPLAIN may run one.
    words=words(
        "alter backup bulk call create deny drop exec execute grant kill refresh rename restore"
        " revoke truncate"
    ),
    phrases=(
        _START,
        re.compile(r" declare (?!\S+ (?:\S+ ){0,6}cursor )"),
        re.compile(
            r" begin (?!\Z|(?:deferred|exclusive|immediate|isolation|read|tran|transaction|work) )"
        ),
    ),
)
TABLES: Mapping[str, Writes] = {"postgresql": POSTGRESQL, "mysql": MYSQL, "sqlite": SQLITE}
