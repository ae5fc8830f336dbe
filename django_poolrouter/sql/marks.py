"""What a statement leaves in the session, by its text: one table for each vendor.

The text does not tell what functions and procedures do.  A vendor without a table has no marks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from .arguments import mysql_setting, postgresql_setting, pragma, set_config_calls
from .statement import Statement, words

MARKS = (
    "setting",  # SET, RESET, set_config, USE, a PRAGMA that sets
    "variable",  # a user's variable on MySQL
    "lock",  # advisory locks and locks on tables that outlive the transaction
    "listen",
    "statement",  # prepared statements
    "temporary",  # temporary tables and the like
    "attached",  # attached databases, loaded libraries, connections to other servers
    "cursor",  # cursors that outlive the transaction
    "doubt",  # the text does not tell
)


@dataclass(frozen=True, slots=True)
class Mark:
    """Why a statement may leave something in the session that the next user must not find.

    Args:
        kind: one of `MARKS`.
        setting: the setting that the text changes, in lower case, such as ``"search_path"``.
            Empty if it is not certain that the text leaves this one setting and nothing else.

    """

    kind: str
    setting: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """What leaves something in a session of one vendor.

    Args:
        harmless: first words of statements that leave nothing, unless something below does.
            A first word that is in neither place is in doubt.
        first: first words of statements that always leave something, with its kind.
        words: words that leave something wherever they stand, with its kind.
        phrases: patterns of code that leaves something, with its kind.
        own: finds what only arguments can tell.

    """

    harmless: frozenset[str]
    first: Mapping[str, str]
    words: Mapping[str, str]
    phrases: Sequence[tuple[str, re.Pattern[str]]]
    own: Callable[[Statement], Iterator[Mark]]

    def marks(self, statement: Statement) -> list[Mark]:
        """Return what a statement may leave in the session, without duplicates."""
        first = statement.first
        found = list(self.own(statement))
        if first in self.first:
            found.append(Mark(self.first[first]))
        elif first not in self.harmless:
            found.append(Mark("doubt"))
        found += [Mark(self.words[word]) for word in sorted(statement.words & self.words.keys())]
        found += [Mark(kind) for kind, phrase in self.phrases if phrase.search(statement.code)]
        return list(dict.fromkeys(found))


def _each(text: str, kind: str) -> dict[str, str]:
    return dict.fromkeys(text.split(), kind)


def _phrase(kind: str, pattern: str) -> tuple[str, re.Pattern[str]]:
    return kind, re.compile(pattern)


def _postgresql(statement: Statement) -> Iterator[Mark]:
    """Find SET, RESET, set_config and changes of temporary schemas and of pg_settings."""
    is_setting = statement.first in {"set", "reset", "discard"}
    if is_setting and not _TRANSACTION_ONLY.match(statement.code):
        yield Mark("setting", postgresql_setting(statement.tokens))
    for name in set_config_calls(statement.tokens):
        yield Mark("setting", name)
    if statement.words >= {"pg_settings", "update"}:
        yield Mark("setting")
    is_temporary = any(word.startswith("pg_temp") for word in statement.words)
    if is_temporary and not statement.words.isdisjoint({"create", "into"}):
        yield Mark("temporary")


# But SET local.name = … changes a setting.
_TRANSACTION_ONLY = re.compile(r" set (?:local|transaction|constraints) (?![.=] |to )")

POSTGRESQL = Table(
    harmless=words(
        "select insert update delete merge values table with explain show copy fetch move close"
        " begin start commit end abort rollback savepoint release"
        " create alter drop truncate comment grant revoke reassign security import refresh"
        " analyze analyse vacuum cluster reindex checkpoint lock notify unlisten"
        " declare prepare set reset discard"
    ),
    first=_each("listen", "listen")
    | _each("execute deallocate", "statement")
    | _each("load", "attached")
    | _each("do call", "doubt"),
    words=_each(
        "pg_advisory_lock pg_advisory_lock_shared"
        " pg_try_advisory_lock pg_try_advisory_lock_shared pg_backup_start pg_start_backup",
        "lock",
    )
    | _each("setseed set_limit pg_replication_origin_session_setup", "setting")
    | _each("dblink_connect dblink_connect_u", "attached")
    | _each("pg_create_logical_replication_slot pg_create_physical_replication_slot", "temporary"),
    phrases=(
        _phrase("statement", r"\A prepare (?!transaction )"),
        _phrase("cursor", r" with hold "),
        _phrase("temporary", r" create (?:or replace )?(?:(?:local|global) )?temp(?:orary)? "),
        _phrase("temporary", r"(?<!insert)(?<!merge) into (?:(?:local|global) )?temp(?:orary)? "),
    ),
    own=_postgresql,
)


def _mysql(statement: Statement) -> Iterator[Mark]:
    """Find SET, with the setting that it changes, and users' variables."""
    if statement.first == "set":
        yield from _marks_of_set(statement)
    elif "@" in statement.words:
        yield Mark("variable")


def _marks_of_set(statement: Statement) -> Iterator[Mark]:
    """Yield the marks of a SET: it may assign settings, users' variables or both."""
    name = mysql_setting(statement.tokens)
    if name != "@":
        yield Mark("setting", name)
    if "@" in statement.words:
        yield Mark("variable")


MYSQL = Table(
    harmless=words(
        "select insert update delete replace values table with explain describe desc show do help"
        " begin start commit rollback savepoint release"
        " create alter drop rename truncate grant revoke load import"
        " analyze check checksum optimize repair cache flush kill reset purge unlock set"
    ),
    first=_each("use", "setting")
    | _each("lock backup handler", "lock")
    | _each("prepare execute deallocate", "statement")
    | _each("call xa", "doubt"),
    words=_each("get_lock service_get_read_locks service_get_write_locks", "lock")
    | _each("version_tokens_lock_shared version_tokens_lock_exclusive", "lock"),
    phrases=(
        _phrase("doubt", r"\A begin not "),
        _phrase("lock", r"\A flush (?=.* (?:read lock|for export) )"),
        _phrase("temporary", r" create (?:or replace )?temporary "),
    ),
    own=_mysql,
)


def _sqlite(statement: Statement) -> Iterator[Mark]:
    """Find a PRAGMA that sets, and what is created in the schema ``temp``."""
    if statement.first == "pragma":
        name, sets = pragma(statement.tokens)
        if sets:
            yield Mark("setting", name)
    elif "pragma" in statement.words:  # EXPLAIN PRAGMA: some of them run when they are compiled
        yield Mark("setting")
    if "create" in statement.words and " temp . " in statement.code:
        yield Mark("temporary")


SQLITE = Table(
    harmless=words(
        "select insert update delete replace values with explain pragma"
        " begin commit end rollback savepoint release"
        " create alter drop analyze reindex vacuum"
    ),
    first=_each("attach detach", "attached"),
    words=_each("load_extension", "attached"),
    phrases=(_phrase("temporary", r" create temp(?:orary)? "),),
    own=_sqlite,
)

TABLES: Mapping[str, Table] = {"postgresql": POSTGRESQL, "mysql": MYSQL, "sqlite": SQLITE}
