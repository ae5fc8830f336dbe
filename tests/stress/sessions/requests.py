"""Makes requests by chance: each is a list of steps, with what a receiver sends for it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from tests.stress.sessions.dialects import USERS, Dialect, Statement

Step = tuple[Any, ...]
NAMES = 4
DEEPEST = 3
READS = ("names", "count", "first", "exists", "iterate", "half", "chunked")
WRITES = ("create", "rename", "delete", "get_or_create", "bulk_create", "touch")

# How many requests are of each kind.
KINDS = {"plain": 62, "user": 16, "short": 6, "changes": 16}
# What the steps of each kind are.
STEPS: dict[str, dict[str, int]] = {
    "plain": {"read": 8, "write": 6, "notes": 4, "look": 2},
    "user": {"read": 5, "write": 4, "notes": 8, "look": 2, "login": 1, "call": 1},
    "short": {"read": 3, "write": 3, "notes": 8, "look": 2, "short": 5},
    "changes": {"read": 4, "write": 3, "notes": 3, "look": 8, "login": 1, "call": 2, "change": 12},
}
# What each of them may do besides.
OTHERS = {"block": 4, "hook": 2, "close": 1, "manual": 1, "raise": 1, "fail": 1}
# How a statement is sent.
WAYS = {"sql": 16, "chunked_sql": 2, "wrapped_sql": 1}
SENT = {
    "notes": "notes",
    "look": "looks",
    "login": "logins",
    "short": "short_logins",
    "change": "changes",
}


@dataclass
class Request:
    """One request.

    Args:
        kind: one of `KINDS`.
        user: which user of the thread it is.
        greets: whether a receiver tells the session who the user is.
        fails: whether a receiver raises when the request first connects, ``"before"`` or
            ``"after"`` it sends something, and the request goes on.
        steps: what the view does.
        end: how the request ends.

    """

    kind: str
    user: int
    greets: bool
    fails: str | None
    end: str
    steps: list[Step] = field(default_factory=list)

    @property
    def leaves_nothing(self) -> bool:
        """Whether the session stays as the receiver sets it for each request."""
        return self.kind == "plain" and not self.fails


class Maker:
    """Makes the requests of one thread."""

    def __init__(self, dice: random.Random, dialect: Dialect) -> None:
        self._dice = dice
        self._dialect = dialect

    def request(self) -> Request:
        dice = self._dice
        kind = self._choose(KINDS)
        request = Request(
            kind,
            user=dice.randrange(USERS),
            greets=kind != "plain" and dice.random() < 0.2,
            fails=dice.choices([None, "before", "after"], [96, 2, 2])[0],
            end=dice.choice(["obsolete", "obsolete", "obsolete", "close", "thread"]),
        )
        if request.fails:  # a block of ours connects at its first statement
            request.steps.append(("orm", "count", 0))
        if kind == "user" and not request.greets and dice.random() < 0.9:
            request.steps.append(self._sent("logins"))
        request.steps += [self._step(kind, 0) for _ in range(dice.randint(2, 6))]
        return request

    def _choose(self, weights: dict[str, int]) -> str:
        return self._dice.choices(list(weights), list(weights.values()))[0]

    def _sent(self, part: str) -> Step:
        statement: Statement = self._dice.choice(getattr(self._dialect, part))
        sql, params = (statement, None) if isinstance(statement, str) else statement
        ways = WAYS if sql.lower().startswith("select") else {**WAYS, "chunked_sql": 0}
        return (self._choose(ways), sql, params)

    def _step(self, kind: str, depth: int) -> Step:
        what = self._choose(STEPS[kind] | (OTHERS if depth < DEEPEST else {}))
        if what in SENT:
            return self._sent(SENT[what])
        return getattr(self, f"_{what}")(kind, depth)  # type: ignore[no-any-return]

    def _read(self, kind: str, depth: int) -> Step:
        return ("orm", self._dice.choice(READS), self._dice.randrange(NAMES))

    def _write(self, kind: str, depth: int) -> Step:
        return ("orm", self._dice.choice(WRITES), self._dice.randrange(NAMES))

    def _call(self, kind: str, depth: int) -> Step:
        return ("call", self._dice.choice(list(self._dialect.calls)))

    def _block(self, kind: str, depth: int) -> Step:
        swallows, raised = self._dice.random() < 0.3, self._dice.random() < 0.25
        savepoint = self._dice.random() < 0.8
        return ("block", self._some(kind, depth), swallows, raised, savepoint)

    def _manual(self, kind: str, depth: int) -> Step:
        if depth:
            return self._read(kind, depth)
        return ("manual", self._some(kind, DEEPEST), self._dice.random() < 0.5)

    def _hook(self, kind: str, depth: int) -> Step:
        return ("hook", [self._step(kind, DEEPEST) for _ in range(self._dice.randint(1, 2))])

    def _close(self, kind: str, depth: int) -> Step:
        return ("close",)

    def _raise(self, kind: str, depth: int) -> Step:
        return ("raise",)

    def _fail(self, kind: str, depth: int) -> Step:
        return ("sql", "SELECT nothing FROM nowhere", None)

    def _some(self, kind: str, depth: int) -> list[Step]:
        """Return the steps of a transaction.  The first writes.

        On SQLite, a transaction that reads first may not write after the write of another one.
        """
        first = ("orm", "touch", self._dice.randrange(NAMES))
        return [first, *(self._step(kind, depth + 1) for _ in range(self._dice.randint(1, 4)))]
