"""What the arguments of SET, PRAGMA and set_config say: which setting, and for how long."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from .statement import is_literal, unquoted, words

_TRUE = frozenset({"true", "'true'", "'t'", "'yes'", "'y'", "'on'", "'1'"})
_PHRASES = {
    ("time", "zone"): "timezone",
    ("role",): "role",
    ("names",): "client_encoding",
    ("schema",): "search_path",
    ("authorization",): "session_authorization",
    ("session", "authorization"): "session_authorization",
    ("transaction", "isolation"): "transaction_isolation",
}
_ASSIGNS = ("=", "to")

# In tokens.  Calls within calls would otherwise take a time that grows with their square.
_LONGEST_CALL = 100

# A PRAGMA with an argument that only asks, or works on the file.
ASKING_PRAGMAS = words(
    "foreign_key_check foreign_key_list incremental_vacuum index_info index_list index_xinfo"
    " integrity_check optimize quick_check table_info table_list table_xinfo wal_checkpoint"
)


def postgresql_setting(tokens: Sequence[str]) -> str:
    """Return the setting that a SET or RESET of PostgreSQL names, or an empty string."""
    rest = [unquoted(token) for token in tokens[1:]]
    if tokens[0] == "reset":
        name, after = _dotted(rest)
        return _by_phrase(rest) or (name if not after and name != "all" else "")
    if tokens[0] != "set":
        return ""
    if rest[:1] == ["session"] and rest[1:2] not in (["."], ["="], ["to"], ["authorization"]):
        rest = rest[1:]
    name, after = _dotted(rest)
    return name if after[:1] and after[0] in _ASSIGNS else _by_phrase(rest)


def _by_phrase(rest: Sequence[str]) -> str:
    found = (name for phrase, name in _PHRASES.items() if tuple(rest[: len(phrase)]) == phrase)
    return next(found, "")


def _dotted(tokens: Sequence[str]) -> tuple[str, Sequence[str]]:
    """Return a name with its dots, and the tokens after it."""
    end = 1
    while tokens[end : end + 1] == ["."]:
        end += 2
    return "".join(tokens[:end]), tokens[end:]


def set_config_calls(tokens: Sequence[str]) -> Iterator[str]:
    """Yield for each set_config that outlives the transaction its setting, or an empty string."""
    for place, token in enumerate(tokens):
        is_call = token == '"set_config"' and tokens[place + 1 : place + 2] == ["("]
        if token != "set_config" and not is_call:
            continue
        arguments = list(_arguments(tokens, place + 1))
        is_local = len(arguments) == 3 and len(arguments[2]) == 1 and arguments[2][0] in _TRUE
        if not is_local:
            yield _setting_of(arguments)


def _setting_of(arguments: Sequence[Sequence[str]]) -> str:
    if len(arguments) == 3 and len(arguments[0]) == 1 and is_literal(arguments[0][0]):
        return unquoted(arguments[0][0])
    return ""


def _arguments(tokens: Sequence[str], place: int) -> Iterator[list[str]]:
    """Yield the arguments in the parentheses that open at this place, up to `_LONGEST_CALL`."""
    argument: list[str] = []
    depth = 0
    for token in itertools.islice(tokens, place, place + _LONGEST_CALL):
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(token, 0)
        if depth == 0 or (depth == 1 and token == ","):
            yield argument
            argument = []
        elif depth > 1 or token != "(":
            argument.append(token)
        if depth == 0:
            return


def mysql_setting(tokens: Sequence[str]) -> str:
    """Return the setting that a SET of MySQL assigns.

    ``"@"`` says that it only assigns users' variables.  An empty string says that the text does
    not tell, or that there is more than one.
    """
    parts = [part for part in _assignments(tokens[1:]) if part[:1] != ["@"]]
    if not parts:
        return "@"
    if len(parts) > 1:
        return ""
    rest = [unquoted(token) for token in parts[0]]
    if rest[:1] == ["@@"]:
        rest = rest[1:]
        if rest[:1] in (["session"], ["local"]) and rest[1:2] == ["."]:
            rest = rest[2:]
    elif rest[:1] in (["session"], ["local"]) and rest[1:2] not in (["="], [":"]):
        rest = rest[1:]
    is_assigned = rest[1:2] == ["="] or rest[1:3] == [":", "="]
    is_assigned = is_assigned and rest[0] != "password"
    return rest[0] if is_assigned else ""


def _assignments(tokens: Sequence[str]) -> Iterator[list[str]]:
    """Yield what stands between the commas outside of parentheses."""
    part: list[str] = []
    depth = 0
    for token in tokens:
        depth += {"(": 1, ")": -1}.get(token, 0)
        if depth == 0 and token == ",":
            yield part
            part = []
        else:
            part.append(token)
    yield part


def pragma(tokens: Sequence[str]) -> tuple[str, bool]:
    """Return the name of a PRAGMA, and whether it sets something."""
    rest = [unquoted(token) for token in tokens[1:]]
    if rest[1:2] == ["."]:
        rest = rest[2:]
    name = rest[0] if rest else ""
    return name, len(rest) > 1 and name not in ASKING_PRAGMAS
