"""Kinds of statements, recognized by a few regular expressions.

Each function errs in one direction only, and its docstring says which.  A doubtful statement
counts as the kind that costs less if it is a mistake.
"""

from __future__ import annotations

import re

# The first word, after comments and parentheses.
# Possessive, so that no text makes it look twice at the same place.
_FIRST_WORD = re.compile(r"(?:\s|--[^\n]*\n|/\*.*?\*/|\()*+([a-z]+)", re.IGNORECASE | re.DOTALL)
_READS = frozenset(
    {"begin", "close", "commit", "declare", "desc", "describe", "explain", "fetch", "listen"}
    | {"pragma", "release", "reset", "rollback", "savepoint", "select", "set", "show", "start"}
    | {"table", "unlisten", "use", "values", "with"}
)
_QUERIES = frozenset({"select", "table", "values", "with"})
_CONTROLS = frozenset({"savepoint", "release", "rollback", "begin", "commit"})
# These make a write of a statement that begins like a read: WITH … UPDATE, SELECT … INTO,
# EXPLAIN ANALYZE DELETE, a second statement.  A literal may match by mistake, which only pins.
_WRITES_INSIDE = re.compile(r"\b(insert|update|delete|merge|into)\b|;\s*\S", re.IGNORECASE)
_ROW_LOCKS = re.compile(r"\bfor\s+(no\s+key\s+)?update\b", re.IGNORECASE)

# MySQL statements that certainly begin no transaction in autocommit.  CALL, XA, EXECUTE,
# ROLLBACK AND CHAIN and several statements at once may hide a BEGIN, so they are left out.
_BEGINS_NOTHING = re.compile(
    rb"\s*(select|insert|update|delete|replace|show|do|explain|describe|with|values"
    rb"|savepoint|release savepoint|rollback to savepoint)\b[^;]*\Z",
    re.IGNORECASE,
)
# LOCK TABLES, FLUSH TABLES WITH READ LOCK or FOR EXPORT: a rollback does not release the locks.
_TABLE_LOCKS = re.compile(rb"\b(lock|export)\b", re.IGNORECASE)


def is_write(sql: object) -> bool:
    """Tell whether a statement may have changed data; True in doubt."""
    if not isinstance(sql, str):  # composed by psycopg
        return True
    first = _FIRST_WORD.match(sql)
    if first is None or first[1].lower() not in _READS:
        return bool(sql.strip())
    if _WRITES_INSIDE.search(sql, first.end()) is None:
        return False
    return _WRITES_INSIDE.search(_ROW_LOCKS.sub("", sql[first.end() :])) is not None


def is_query(sql: object) -> bool:
    """Tell whether a statement only reads rows; False in doubt.

    Another server can answer such a statement.
    """
    return _first_word(sql) in _QUERIES and not is_write(sql)


def may_query(sql: object) -> bool:
    """Tell whether a statement may be a query; True if psycopg composed it."""
    return not isinstance(sql, str) or _first_word(sql) in _QUERIES


def controls_transaction(sql: str) -> bool:
    """Tell whether a statement begins or ends a transaction or a savepoint."""
    return _first_word(sql) in _CONTROLS


def may_begin_transaction(sql: bytes | bytearray) -> bool:
    """Tell whether a statement may begin a transaction on MySQL in autocommit; True in doubt."""
    return _BEGINS_NOTHING.match(sql) is None


def may_lock_tables(sql: bytes | bytearray) -> bool:
    """Tell whether a statement may leave tables locked on MySQL; True in doubt."""
    return _TABLE_LOCKS.search(sql) is not None


def _first_word(sql: object) -> str:
    """Return the first word in lower case, or an empty string."""
    first = _FIRST_WORD.match(sql) if isinstance(sql, str) else None
    return first[1].lower() if first else ""
