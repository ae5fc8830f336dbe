"""What a statement does to data and session, told from its text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

from . import lexer, marks, writes
from .marks import Mark
from .statement import Statement, statements

# Longer texts differ each time: they hold their values.
_LONGEST_KEPT = 2_000

# MySQL statements that certainly begin no transaction in autocommit.  CALL, XA, EXECUTE,
# ROLLBACK AND CHAIN and several statements at once may hide a BEGIN, so they are left out.
_BEGINS_NOTHING = re.compile(
    r"\s*(?:select|insert|update|delete|replace|show|do|explain|describe|with|values"
    r"|savepoint|release savepoint|rollback to savepoint)\b"
)
# LOCK TABLES, FLUSH TABLES WITH READ LOCK or FOR EXPORT: a rollback does not release the locks.
# Also in a literal, for EXECUTE IMMEDIATE, and EXECUTE itself.
_TABLE_LOCKS = re.compile(r"\b(?:lock|export|execute)\b")


@dataclass(frozen=True, slots=True)
class Kind:
    """What a statement's text says about its effects.

    Args:
        is_write: whether it may have changed data; True in doubt.
        is_query: whether it only reads rows, so that another server can answer; False in doubt.
        why: what in the text says so, in English.
        mark: what it leaves in the session, or None.  Always None for a vendor without a table.
        certain: what it changes or locks beyond doubt: rows, locks or tables; empty in doubt.
        may_query: whether it begins like a query; True if the text is not known.
        controls_transaction: whether it begins or ends a transaction or a savepoint.
        may_begin: whether it may begin a transaction on MySQL in autocommit; True in doubt.
        may_lock_tables: whether it may leave tables locked on MySQL; True in doubt.

    """

    is_write: bool
    is_query: bool
    why: str
    mark: Mark | None
    certain: writes.Certain
    may_query: bool
    controls_transaction: bool
    may_begin: bool
    may_lock_tables: bool


def classify(sql: object, vendor: str) -> Kind:
    """Return what a statement's text says about its effects.

    Args:
        sql: text, UTF-8, or what a driver composed.  Any other object is in doubt.
        vendor: Django's ``connection.vendor``.  The rules for an unknown one are cautious.

    """
    if isinstance(sql, str):
        return _kept(sql, vendor) if len(sql) <= _LONGEST_KEPT else _classify(sql, vendor)
    if isinstance(sql, bytes | bytearray):
        return _classify_bytes(bytes(sql), vendor)
    text = _composed(sql)
    if text is None:
        return _reader(vendor).doubt("", "its text is not known")
    return classify(text, vendor)


def _composed(sql: object) -> str | None:
    """Return the text of what psycopg composed, or None."""
    as_string = getattr(sql, "as_string", None)
    for arguments in ((None,), ()):
        try:
            text = as_string(*arguments) if as_string is not None else None
        except Exception:  # noqa: S112  # an object of any kind may fail in any way
            continue
        return text if isinstance(text, str) else None
    return None


def _classify(sql: str, vendor: str) -> Kind:
    return _reader(vendor).classify(sql)


_kept = lru_cache(maxsize=1_000)(_classify)


def _classify_bytes(sql: bytes, vendor: str) -> Kind:
    """Classify what a driver sends.  It holds the values, so it is not kept."""
    try:
        return _classify(sql.decode(), vendor)
    except UnicodeDecodeError:
        return _reader(vendor).doubt(sql.decode("latin-1").lower(), "the text is not UTF-8")


class _Reader:
    """Classifies the statements of one vendor."""

    def __init__(self, vendor: str) -> None:
        self.lexer = lexer.LEXERS.get(vendor, lexer.GENERIC)
        self.writes = writes.TABLES.get(vendor, writes.GENERAL)
        self.marks = marks.TABLES.get(vendor)
        self._plain = dict(self._plain_kinds())

    def classify(self, sql: str) -> Kind:
        text = sql.lower()
        if lexer.END in text:
            return self.doubt(text, "it holds a NUL")
        return self._glance(text) or self._look_closely(text)

    def _glance(self, text: str) -> Kind | None:
        """Return the kind of a plain statement, as nearly all of Django's are, or None."""
        outline = self.lexer.outline(text)
        kind, telling = self._plain.get(outline[0], _NOT_PLAIN)
        is_all = outline[-1] and text.lstrip(_OPENING).startswith(outline[0])
        return kind if is_all and telling.isdisjoint(outline) else None

    def doubt(self, text: str, why: str) -> Kind:
        """Return the kind of a text in lower case that may do anything."""
        first = re.match(r"[\s(]*+(\w*)", text)
        return Kind(
            is_write=True,
            is_query=False,
            why=f"in doubt: {why}",
            mark=Mark("doubt") if self.marks else None,
            certain="",
            may_query=not text or (first is not None and first[1] in writes.QUERIES),
            controls_transaction=False,
            may_begin=";" in text or _BEGINS_NOTHING.match(text) is None,
            may_lock_tables=not text or _TABLE_LOCKS.search(text) is not None,
        )

    def _look_closely(self, text: str) -> Kind:
        tokens = self.lexer.tokens(text)
        if not tokens.pop():
            return self.doubt(text, self.lexer.doubt(text))
        found = list(statements(tokens))
        if not found:
            return _NOTHING
        kind = self._kind_of(found)
        return replace(
            kind,
            may_begin=len(found) > 1 or _BEGINS_NOTHING.match(found[0].code) is None,
            may_lock_tables=_TABLE_LOCKS.search(text) is not None,
        )

    def _kind_of(self, found: list[Statement]) -> Kind:
        reasons = list(filter(None, map(self.writes.reason, found)))
        mark = self._mark_of(found)
        first = found[0].first
        is_query = first in writes.QUERIES
        return Kind(
            is_write=bool(reasons),
            is_query=is_query and not reasons and not mark and len(found) == 1,
            why=reasons[0] if reasons else _summary(found),
            mark=mark,
            certain=next(filter(None, map(writes.certainty, found)), ""),
            may_query=is_query,
            controls_transaction=first in writes.CONTROLS,
            may_begin=True,
            may_lock_tables=True,
        )

    def _mark_of(self, found: list[Statement]) -> Mark | None:
        if self.marks is None:
            return None
        every = [mark for statement in found for mark in self.marks.marks(statement)]
        if len(found) == len(every) == 1:
            return every[0]
        kinds = [mark.kind for mark in every]
        return Mark("doubt" if "doubt" in kinds else kinds[0]) if kinds else None

    def _plain_kinds(self) -> Iterable[tuple[str, tuple[Kind, frozenset[str]]]]:
        """Yield the first words that need no closer look, and the words that ask for one."""
        for word in _PLAIN:
            kind = self._look_closely(word)
            if kind.mark is None:
                words = _ALWAYS_TELLING.union(self.marks.words if self.marks else ())
                if not kind.is_write:
                    words |= writes.WRITING_WORDS | self.writes.words
                quoted = (f"{left}{each}{right}" for each in words for left, right in _QUOTES)
                yield word.split()[0], (kind, words.union(quoted))


_NOTHING = Kind(
    is_write=False,
    is_query=False,
    why="it holds no statement",
    mark=None,
    certain="",
    may_query=False,
    controls_transaction=False,
    may_begin=False,
    may_lock_tables=False,
)
# Statements that begin so are told by their first word, unless a telling word follows.
_PLAIN = (
    *("select", "with", "values", "insert", "update", "delete"),
    *("savepoint", "release savepoint"),
)
_NOT_PLAIN: tuple[None, frozenset[str]] = (None, frozenset())
# What may stand before the first word of a statement.
_OPENING = " \t\n\r\f\v("
_QUOTES = (('"', '"'), ("`", "`"), ("[", "]"))
_ALWAYS_TELLING = frozenset({"set_config", "pg_settings", "lock", "export", "execute", "share"})


def _summary(found: list[Statement]) -> str:
    words = " ; ".join(statement.first.upper() for statement in found[:3])
    return f"{words} ; …" if len(found) > 3 else words


@lru_cache(maxsize=32)
def _reader(vendor: str) -> _Reader:
    return _Reader(vendor)
