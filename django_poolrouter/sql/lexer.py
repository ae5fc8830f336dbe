r"""Splits the text of statements into tokens, and says where that is not certain.

A literal, a quoted name or a comment is left out only if every setting of the server reads it the
same way.  Otherwise the text is in doubt.  A lexer expects text in lower case.  Its time grows
linearly with the text: no quantifier gives back what it took, and the first doubt ends the work.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_BLANK = r"[ \t\n\r\f\v]"
# Without the blanks beyond ASCII.  Some servers skip some of them, others read them as letters.
_LETTERS = (
    r"a-z_\x80-\x84\x86-\x9f\xa1-\u167f\u1681-\u1fff\u200b-\u2027\u202a-\u202e\u2030-\u205e"
    r"\u2060-\u2fff\u3001-\ufefe\uff00-\U0010ffff"
)
_WORD = rf"[{_LETTERS}][0-9${_LETTERS}]*+"
# No fraction: the point is a token of its own.  With the exponent, since ``1e5into`` has INTO.
_NUMBER = r"[0-9]++(?:e[-+]?[0-9]++)?+"

# A percent sign that a driver does not take for a placeholder.  A placeholder inside quotes is
# doubtful, because the driver may put quotes there.
_PERCENT_IN_QUOTES = r"%%|%(?!\(|[sbt](?![a-z0-9_]))"
_PERCENT = r"%%|%(?![sbt(])"
_PLACEHOLDER = r"%(?:\([a-z0-9_]++\))?+[sbt](?![a-z0-9_])"

# With single blanks, as Django writes it.
_ROW_LOCK = rf"for (?:no key )?+update(?![0-9${_LETTERS}])"

# The end of the text.  It is no character of a statement that a server takes.
END = "\0"


def _quoted(quote: str, backslash: str = "") -> str:
    """Return a pattern for text in quotes, with doubled quotes and these uses of a backslash."""
    stops = f"{quote}%" + ("\\\\" if backslash else "")
    plain = f"[^{stops}]*+"
    special = "|".join(filter(None, [quote * 2, _PERCENT_IN_QUOTES, backslash]))
    return f"{quote}{plain}(?:(?:{special}){plain})*+{quote}"


def _either(quote: str) -> str:
    r"""Return a pattern for quotes that end at the same place whether ``\`` escapes or not."""
    return _quoted(quote, rf"\\\\|\\(?![\\{quote}])")


def _line(opening: str, end: str = r"\n", stops: str = r"\n") -> str:
    """Return a pattern for a comment up to the end of the line."""
    plain = f"[^{stops}%\0]*+"
    return f"{opening}{plain}(?:(?:{_PERCENT_IN_QUOTES}){plain})*+(?={end}|\0)"


def _cautious_line(opening: str) -> str:
    r"""Return such a pattern for servers that may or may not end a line at ``\r``."""
    return _line(opening, r"\r?\n", r"\r\n")


def _block(opening: str = r"/\*", *, nests: bool = False) -> str:
    """Return a pattern for a comment between ``/*`` and ``*/``."""
    stops = "*%/" if nests else "*%"
    special = rf"\*(?!/)|{_PERCENT_IN_QUOTES}" + (r"|/(?!\*)" if nests else "")
    return rf"{opening}[^{stops}]*+(?:(?:{special})[^{stops}]*+)*+\*/"


@dataclass(frozen=True, slots=True)
class Lexer:
    """How a kind of server splits text.

    Args:
        strings: patterns of literals.
        names: patterns of quoted names.  A double quote may also begin a literal on MySQL.
        comments: patterns of comments.
        signs: single characters that are tokens, for a character class.
        parameters: patterns of parameters, and of other tokens that no rule needs.
        code_comment: a pattern for the opening of a comment that the server runs.
        not_a_word: a pattern that a word must not begin with.
        telling_name: how a quoted name begins if it counts as a word.
        minus: a pattern for a minus sign that begins no comment.

    """

    strings: tuple[str, ...]
    names: tuple[str, ...]
    comments: tuple[str, ...]
    signs: str
    parameters: tuple[str, ...] = ()
    code_comment: str = ""
    not_a_word: str = ""
    telling_name: str = ""
    minus: str = "-(?!-)"
    _outline: re.Pattern[str] = field(init=False)
    _tokens: re.Pattern[str] = field(init=False)
    _gaps: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        gaps = (f"{_BLANK}++", *self.comments, _PERCENT)
        word = rf"(?!{self.not_a_word}){_WORD}" if self.not_a_word else _WORD
        operators = (self.minus, r"/(?!\*)")
        values = (_NUMBER, _PLACEHOLDER, *self.parameters)
        tokens = (*self.strings, word, *self.names, *values, f"[{self.signs};]", *operators)
        if self.code_comment:
            tokens += (self.code_comment,)
        # The most frequent first.
        run = rf"[ \t\n\r\f\v{self.signs.replace('@', '')}]++"
        names = map(self._plain_name, self.names)
        skipped = (*names, run, _ROW_LOCK, *values, *self.strings, *operators, *gaps[1:])
        object.__setattr__(self, "_gaps", re.compile(_any(*gaps) + "*+", re.DOTALL))
        object.__setattr__(self, "_tokens", _compile(gaps, tokens))
        object.__setattr__(self, "_outline", _compile(skipped, (word, *self.names)))

    def _plain_name(self, name: str) -> str:
        """Return a pattern for quoted names that do not count as words.

        A name before a parenthesis or a comment may be the name of a function.
        """
        telling = f"(?!{self.telling_name})" if self.telling_name else ""
        return rf"{name[0]}{telling}{name[1:]}(?!{_BLANK}*+[(/\-#])"

    def outline(self, text: str) -> list[str]:
        """Return the words, and the quoted names that may be functions: enough for most texts.

        The last item is `END`, or empty if the text has more to it: another statement, a user's
        variable or a doubt.
        """
        return self._outline.findall(text + END)

    def tokens(self, text: str) -> list[str]:
        """Return all tokens.  The last item is `END`, or empty if the text is in doubt."""
        return self._tokens.findall(text + END)

    def doubt(self, text: str) -> str:
        """Say in English what is in doubt, for a text whose tokens end with an empty one."""
        for match in self._tokens.finditer(text + END):
            if match[1] is None:
                gap = self._gaps.match(match[0])
                return _reason(match[0][gap.end() if gap else 0 :])
        raise ValueError("nothing is in doubt")


def _any(*patterns: str) -> str:
    return f"(?:{'|'.join(patterns)})"


def _compile(skipped: tuple[str, ...], tokens: tuple[str, ...]) -> re.Pattern[str]:
    """Return a pattern that finds each token, the end, or nothing and the rest in doubt."""
    return re.compile(f"{_any(*skipped)}*+(?:({'|'.join(tokens)}|{END})|.++)", re.DOTALL)


def _reason(rest: str) -> str:
    """Say in English why a text is in doubt from here on."""
    if rest[0] in "'\"`[":
        quoted, _, more = rest[1:].partition("]" if rest[0] == "[" else rest[0])
        if more and quoted.endswith("\\"):
            return "a backslash before a quote"
        if more and re.search(r"%(?:\(|[sbt])", quoted):
            return "a placeholder in quotes"
        return "a quote is not closed"
    if rest.startswith(("/*", "--", "#")):
        return "a comment"
    shown = "a character" if rest[0].isspace() else repr(rest[0])
    return f"what {shown} begins"


_PARAMETER = r"\?[0-9]*+"
# The parentheses of ``:name(…)`` belong to the parameter, and colons may follow.
_SQLITE_PARAMETER = r"[:@$#][a-z0-9_$\x80-\U0010ffff]++(?![(:])"
# Executable comments are code if nothing in them can hide their end.
_CODE_COMMENT = r"/\*m?!(?=[^'\"`\\;#\-/*]*+\*/)"

POSTGRESQL = Lexer(
    strings=(_either("'"), "e" + _quoted("'", r"\\.")),
    names=(_quoted('"'),),
    comments=(_line("--", r"[\n\r]", r"\n\r"), _block(nests=True)),
    signs=r"(),.=<>+*!~^&|?\[\]#@:",
    parameters=(r"\$[0-9]++",),
    not_a_word='u&"',
    telling_name="pg_",
)
MYSQL = Lexer(
    strings=(_either("'"),),
    names=(_quoted("`"), _either('"')),
    comments=(
        _line("#"),
        _line(r"--(?=[\0-\x20\x7f])"),
        _block(r"/\*(?!m?!)"),
    ),
    signs=r"(),.=<>+*!~^&|?@:",
    parameters=("@@",),
    code_comment=_CODE_COMMENT,
    minus=r"-(?!-[\0-\x20\x7f])",
)
SQLITE = Lexer(
    strings=(_quoted("'"),),
    names=(_quoted('"'), _quoted("`"), r"\[[^\]%]*+\]"),
    comments=(_line("--"), _block()),
    signs=r"(),.=<>+*!~^&|",
    parameters=(_PARAMETER, _SQLITE_PARAMETER),
)
ORACLE = Lexer(
    strings=(_quoted("'"),),
    names=(_quoted('"'),),
    comments=(_cautious_line("--"), _block(nests=True)),
    signs=r"(),.=<>+*!~^&|?@",
    parameters=("::", r":[a-z0-9_]++", ":="),
    not_a_word="n?q'",
)
MICROSOFT = Lexer(
    strings=(_quoted("'"),),
    names=(_quoted('"'), rf"\[[^\]%]*+(?:(?:\]\]|{_PERCENT_IN_QUOTES})[^\]%]*+)*+\]"),
    comments=(_cautious_line("--"), _block(nests=True)),
    signs=r"(),.=<>+*!~^&|?#:",
    parameters=(r"@[a-z0-9_@#$]++", r"\$[a-z]++"),
)
# Only what all servers read alike.
GENERIC = Lexer(
    strings=(_either("'"),),
    names=(_either('"'),),
    comments=(_cautious_line(r"--(?=[\0-\x20\x7f])"), _block(r"/\*(?!m?!)", nests=True)),
    signs=r"(),.=<>+*!~^&|?",
    parameters=("::", r":[a-z0-9_]++", ":=", r"@[a-z0-9_]++", r"\$[0-9]++"),
    not_a_word="n?q'|u&\"",
)
LEXERS: Mapping[str, Lexer] = {
    "postgresql": POSTGRESQL,
    "mysql": MYSQL,
    "sqlite": SQLITE,
    "oracle": ORACLE,
    "microsoft": MICROSOFT,
}
