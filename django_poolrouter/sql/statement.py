"""One statement as its tokens, and as a line of code that rules can search."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_NAME = re.compile(r"[a-z0-9_$]+")
_QUOTES = frozenset("'\"`]")
# The openings of executable comments.
CODE_COMMENTS = frozenset({"/*!", "/*m!"})
# Statements that mean the same whether an executable comment in them runs or not.
_KNOWN_WITH_COMMENTS = frozenset(
    {"delete", "insert", "replace", "select", "table", "update", "values", "with"}
)


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that is not empty and not in doubt.

    Args:
        tokens: its tokens in lower case.
        code: the same as one line, with a blank around each token.  A literal is ``'``.  A quoted
            name is ``"``, but functions, ``pg_temp`` and ``pg_settings`` keep their names.
        words: the tokens of ``code``.
        first: its first word, or an empty string if it begins with something else.

    """

    tokens: Sequence[str]
    code: str
    words: frozenset[str]
    first: str


def words(text: str) -> frozenset[str]:
    """Return the words of a text that is divided by blanks."""
    return frozenset(text.split())


def statements(tokens: Sequence[str]) -> Iterator[Statement]:
    """Yield the statements of a text from its tokens, without the empty ones."""
    for is_end, group in itertools.groupby(tokens, ";".__eq__):
        if not is_end:
            yield _statement(list(group))


def unquoted(token: str) -> str:
    """Return a token without its quotes."""
    return token[1:-1] if len(token) > 1 and token[-1] in _QUOTES else token


def is_literal(token: str) -> bool:
    """Tell whether a token is a plain literal in single quotes, with nothing escaped in it."""
    return token[0] == "'" and "'" not in token[1:-1] and "\\" not in token


def _statement(tokens: Sequence[str]) -> Statement:
    pairs = zip(tokens, [*tokens[1:], ""], strict=True)
    code = [_code(token, next_) if token[-1] in _QUOTES else token for token, next_ in pairs]
    begin = next((place for place, token in enumerate(code) if token != "("), 0)
    first = code[begin] if _NAME.fullmatch(code[begin]) else ""
    if first not in _KNOWN_WITH_COMMENTS and not CODE_COMMENTS.isdisjoint(code):
        first = ""
    return Statement(tokens, f" {' '.join(code[begin:])} ", frozenset(code), first)


def _code(token: str, follower: str) -> str:
    """Return what a token that ends with a quote contributes to the line of code."""
    name = unquoted(token)
    if name == "temp" and follower == ".":
        return name
    if token[0] == "'" or not _NAME.fullmatch(name) or not _is_telling(name, follower):
        return "'" if token[-1] == "'" else '"'
    return name


def _is_telling(name: str, follower: str) -> bool:
    """Tell whether a quoted name is known: a function, or a name of PostgreSQL's catalog."""
    return follower == "(" or name.startswith("pg_temp") or name == "pg_settings"
