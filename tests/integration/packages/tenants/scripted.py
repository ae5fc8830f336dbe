"""A request as a list of steps, made by chance, and what each step gives on a connection.

Two connections play the same steps: one from the pool, and one of its own on a twin of the
database.  A thread has rows of its own in the tables, so the outcomes do not depend on others.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

Step = tuple[Any, ...]
ROWS = 12
DEEPEST = 3


class Boom(Exception):
    """An error of a view."""


class Abort(BaseException):
    """As raised by a signal handler: not an Exception."""


RAISED: dict[str, type[BaseException]] = {"Boom": Boom, "Abort": Abort}
CLOSED = "the connection is closed"
"""After close() in a block both refuse statements, each in its own words."""


# -- makes the steps --------------------------------------------------------------------------


def request(rng: random.Random, tenants: list[str]) -> list[Step]:
    """Return the steps of one request.  Some go on with the tenant of the request before."""
    steps: list[Step] = []
    if rng.random() < 0.8:
        steps.append(("tenant", rng.choice(tenants)))
    steps += [_step(rng, tenants, depth=0) for _ in range(rng.randint(2, 6))]
    steps.append(("end", rng.choice(["obsolete", "obsolete", "close", "nothing"])))
    return steps


def _step(rng: random.Random, tenants: list[str], depth: int) -> Step:
    kinds = {
        "read": 6,
        "rows": 3,
        "insert": 4,
        "delete": 2,
        "fail": 1,
        "close": 1,
        "chunks": 1,
        "visit": 1,
        "hook": 3 if depth else 1,
        "block": 4 if depth < DEEPEST else 0,
    }
    [kind] = rng.choices(list(kinds), list(kinds.values()))
    match kind:
        case "insert" | "delete":
            return (kind, rng.randrange(ROWS))
        case "visit":
            return (kind, rng.choice(tenants))
        case "hook":
            return (kind, rng.randrange(1000), rng.random() < 0.1)
        case "block":
            steps = [_step(rng, tenants, depth + 1) for _ in range(rng.randint(1, 4))]
            raised = rng.choice([None, None, None, "Boom", "Abort"])
            return (kind, steps, rng.random() < 0.8, raised)
    return (kind,)


def told(error: BaseException) -> str:
    """Return an error's class and the first line of its text."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


# -- plays them -------------------------------------------------------------------------------


class Player:
    """Plays steps on the connection of one alias, and notes each outcome."""

    def __init__(self, alias: str, thread: int, observer: Any) -> None:
        from django.db import connections

        self.wrapper: Any = connections[alias]
        self.alias = alias
        self.thread = thread
        self.observer = observer
        """A connection beside Django's, which sees what is committed."""
        self.noted: list[Any] = []

    def play(self, steps: list[Step]) -> list[Any]:
        """Return the outcomes of a request."""
        self.noted = []
        for step in steps:
            self._do(step)
        return self.noted

    def _do(self, step: Step) -> None:
        from django.db import Error

        method: Callable[..., Any] = getattr(self, f"_{step[0]}")
        try:
            outcome = method(*step[1:])
        except (Error, Boom) as error:
            # A block must not go on after an error, which has undone its SET search_path on
            # the server.  django-tenants would not notice.
            if self.wrapper.in_atomic_block and not self.wrapper.closed_in_transaction:
                self.noted.append([step[0], told(error)])
                raise
            outcome = CLOSED if self.wrapper.closed_in_transaction else told(error)
        self.noted.append([step[0], outcome, self._state()])

    def _state(self) -> list[Any]:
        wrapper = self.wrapper
        if not wrapper.in_atomic_block:
            return []  # The rest means nothing then.  Django sets it when it connects next.
        return [
            wrapper.needs_rollback,
            wrapper.closed_in_transaction,
            len(wrapper.savepoint_ids),
            len(wrapper.run_on_commit),
            len(wrapper.atomic_blocks),
        ]

    def _tenant(self, tenant: str) -> None:
        self.wrapper.set_schema(tenant)

    def _read(self) -> Any:
        return self._ask("SELECT current_schema(), owner FROM secret")

    def _rows(self) -> Any:
        return self._ask("SELECT n FROM notes WHERE thread = %s ORDER BY n", self.thread)

    def _ask(self, sql: str, *params: Any) -> Any:
        with self.wrapper.cursor() as cursor:
            cursor.execute(sql, params)
            return cursor.fetchall()

    def _insert(self, n: int) -> int:
        with self.wrapper.cursor() as cursor:
            cursor.execute("INSERT INTO notes VALUES (%s, %s)", [self.thread, n])
            return int(cursor.rowcount)

    def _delete(self, n: int) -> int:
        with self.wrapper.cursor() as cursor:
            cursor.execute("DELETE FROM notes WHERE (thread, n) = (%s, %s)", [self.thread, n])
            return int(cursor.rowcount)

    def _fail(self) -> Any:
        return self._ask("SELECT 1 / 0")

    def _close(self) -> None:
        self.wrapper.close()

    def _chunks(self) -> Any:
        """Read with a cursor of the server, as ``iterator()`` does."""
        if self.wrapper.closed_in_transaction:
            # On a closed connection this leaves django-tenants unable to SET anything.
            return CLOSED
        with self.wrapper.chunked_cursor() as cursor:
            cursor.execute("SELECT owner FROM secret UNION ALL SELECT current_schema()")
            return cursor.fetchmany(1) + cursor.fetchmany(5)

    def _visit(self, tenant: str) -> Any:
        before = self.wrapper.schema_name
        self.wrapper.set_schema(tenant)
        try:
            return self._read()
        finally:
            self.wrapper.set_schema(before)

    def _hook(self, number: int, fails: bool) -> str | None:
        from django.db import transaction

        if self.wrapper.closed_in_transaction:
            # The block is lost, but Django runs its hooks when it connects next if the last
            # function of an earlier commit has failed.
            return CLOSED

        def hook() -> None:
            outcome = [self._committed(), self.wrapper.schema_name]
            self.noted.append(["hook ran", number, outcome, self._state()])
            self._do(("read",))
            if fails:
                raise Boom

        transaction.on_commit(hook, using=self.alias)
        return None

    def _committed(self) -> Any:
        """Return this thread's rows that others see."""
        schema = self.wrapper.schema_name
        if schema == "public":
            return None  # No tenant was chosen yet.
        return self.observer.execute(
            f'SELECT n FROM "{schema}".notes WHERE thread = %s ORDER BY n', [self.thread]
        ).fetchall()

    def _block(self, steps: list[Step], savepoint: bool, raised: str | None) -> str:
        from django.db import Error, transaction

        try:
            with transaction.atomic(self.alias, savepoint=savepoint):
                for step in steps:
                    self._do(step)
                if raised:
                    raise RAISED[raised]
        except (Error, Boom, Abort) as error:
            return told(error)
        return "done"

    def _end(self, how: str) -> Any:
        """End the request as Django's signals do, as a view may, or not at all."""
        if how == "obsolete":
            self.wrapper.close_if_unusable_or_obsolete()
        elif how == "close":
            self.wrapper.close()
        return self._committed()
