"""Plays requests on the connection of one alias, and notes each answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from django.db import Error, connections, transaction

from tests.stress.sessions.dialects import Dialect, owners
from tests.stress.sessions.requests import Request, Step
from tests.stress.sessions.tags import Tags
from tests.support.doubles import Task

CONFLICT = ["another thread was in the way"]
# Words of errors that say so.
CONFLICTS = ("database is locked", "(1213,", "(1205,")
CLOSED = "the connection is closed"
"""After close() in a block, Django and the drivers refuse statements, each in its own words."""
PLACEHOLDER = "SELECT 'in the place of another one'"
LASTING_LOCKS = ("advisory_lock", "get_lock")


PATIENCE = 120.0
"""Seconds that a request may take on a slow machine."""


class Boom(Exception):
    """An error of a view."""


# What the receiver does for the request that this thread plays.
playing = threading.local()


def greet(connection: Any, **_: Any) -> None:
    """Send what the request of this thread wants sent: a receiver of ``connection_created``."""
    player = getattr(playing, "player", None)
    if player is not None and player.alias == connection.alias:
        player.greet(connection)


class Player:
    """Plays requests on one alias.

    Args:
        alias: the alias.
        thread: the number of the thread. Each thread has its own rows and users.
        dialect: what the vendor understands.
        beside: the alias of a connection without a pool to the same database.

    """

    def __init__(self, alias: str, thread: int, dialect: Dialect, beside: str) -> None:
        self.alias = alias
        self.thread = thread
        self.dialect = dialect
        self.beside = beside
        self._tags = Tags(alias, thread)
        self.closes = 0
        """How many times a request gave its connection back or closed it."""
        self._names = {
            "thread": thread,
            "lock": thread if "pg_" in dialect.session_id else f"{alias}-{thread}",
        }

    def play(self, request: Request) -> list[Any]:
        """Return the answers to a request, or `CONFLICT` if another thread was in the way."""
        if request.end != "thread":
            return self._play(request)
        answers: list[Any] = Task(self._play_apart, request).finished(PATIENCE).result()
        return answers

    def _play_apart(self, request: Request) -> list[Any]:
        """Play a request in a thread that ends without closing its connection."""
        try:
            return self._play(request)
        finally:
            connections[self.beside].close()

    def _play(self, request: Request) -> list[Any]:
        self.wrapper = connections[self.alias]
        if self._is_alone and not request.leaves_nothing:
            self.wrapper.close()
        self.request = request
        self.answers: list[Any] = []
        self._has_failed = False
        self._locked_by = None
        self._conflict = False
        self._swallows = True
        self._names["user"] = owners(self.thread)[request.user]
        playing.player = self
        try:
            with suppress(Boom, Error, self.wrapper.Database.Error):
                for step in request.steps:
                    self._do(step)
        finally:
            playing.player = None
            self._end(request.end)
        return CONFLICT if self._conflict else self.answers

    def greet(self, connection: Any) -> None:
        fails = self.request.fails if not self._has_failed else None
        if fails == "before":
            raise Boom
        with connection.cursor() as cursor:
            for sql in self.dialect.greeting:
                cursor.execute(sql)
            if self.request.greets:
                cursor.execute(self._filled(self.dialect.logins[0]))
        if fails == "after":
            raise Boom

    # -- steps --------------------------------------------------------------------------

    def _do(self, step: Step) -> None:
        """Play a step and note its answer; an error leaves a block unless it swallows errors."""
        method: Callable[..., Any] = getattr(self, f"_{step[0]}")
        in_block = self.wrapper.in_atomic_block
        try:
            answer = method(*step[1:])
        except (Error, self.wrapper.Database.Error, Boom) as error:
            self.answers.append([step, self._told(error)])
            if self.request.fails and not self._has_failed:
                # The request goes on: a pooled connection was given back by then.
                self._has_failed = True
                if self._is_alone:
                    self.wrapper.close()
                return
            if isinstance(error, Boom) or (in_block and not self._swallows):
                raise
        else:
            self.answers.append([step, answer])

    def _told(self, error: Exception) -> str:
        text = str(error)
        if any(word in text for word in CONFLICTS):
            self._conflict = True
        if self.wrapper.closed_in_transaction:
            return CLOSED
        code = getattr(error.__cause__, "sqlstate", None) or text.partition(",")[0]
        return f"{type(error).__name__}: {code}"

    def _filled(self, text: Any) -> Any:
        return text.format(**self._names) if isinstance(text, str) else text

    def _sql(self, sql: str, params: Any) -> Any:
        return self._ask(self.wrapper.cursor, sql, params)

    def _chunked_sql(self, sql: str, params: Any) -> Any:
        """Send a statement with a cursor of the server, as ``iterator()`` does."""
        return self._ask(self.wrapper.chunked_cursor, sql, params)

    def _wrapped_sql(self, sql: str, params: Any) -> Any:
        """Send a statement that a wrapper puts in the place of another one."""

        def replace(execute: Any, text: str, values: Any, many: bool, context: Any) -> Any:
            if text != PLACEHOLDER:  # of Django, which has just connected, or of the receiver
                return execute(text, values, many, context)
            return execute(*self._statement(sql, params), many, context)

        with self.wrapper.execute_wrapper(replace):
            return self._ask(self.wrapper.cursor, PLACEHOLDER, None)

    def _ask(self, make_cursor: Callable[[], Any], sql: str, params: Any) -> Any:
        text, values = self._statement(sql, params)
        if self.dialect.gone and any(word in text.lower() for word in LASTING_LOCKS):
            with self.wrapper.cursor() as cursor:
                cursor.execute(self.dialect.session_id)
                self._locked_by = cursor.fetchone()[0]
        with make_cursor() as cursor:
            cursor.execute(text, values)
            return [list(row) for row in cursor.fetchall()] if cursor.description else None

    def _statement(self, sql: str, params: Any) -> tuple[str, Any]:
        values = None if params is None else [self._filled(value) for value in params]
        return self._filled(sql), values

    def _call(self, name: str) -> None:
        self.wrapper.ensure_connection()
        if self.wrapper.connection is None:
            raise Error(CLOSED)
        with self.wrapper.wrap_database_errors:
            self.dialect.calls[name](self.wrapper.connection, self._names["user"])

    def _orm(self, what: str, number: int) -> Any:
        return getattr(self._tags, what)(number)

    def _block(self, steps: list[Step], swallows: bool, raised: bool, savepoint: bool) -> str:
        before, self._swallows = self._swallows, swallows
        try:
            with transaction.atomic(self.alias, savepoint=savepoint):
                for step in steps:
                    self._do(step)
                if raised:
                    raise Boom
        except (Error, self.wrapper.Database.Error, Boom) as error:
            return self._told(error)
        finally:
            self._swallows = before
        return "done"

    def _manual(self, steps: list[Step], commits: bool) -> None:
        self.wrapper.set_autocommit(False)
        try:
            for step in steps:
                self._do(step)
        finally:
            if commits:
                self.wrapper.commit()
            else:
                self.wrapper.rollback()
            self.wrapper.set_autocommit(True)

    def _hook(self, steps: list[Step]) -> str | None:
        if self.wrapper.closed_in_transaction:
            return CLOSED

        def hook() -> None:
            for step in steps:
                self._do(step)

        transaction.on_commit(hook, using=self.alias)
        return None

    def _close(self) -> None:
        self._note_end()
        self.wrapper.close()
        self._wait_for_end()

    def _raise(self) -> None:
        raise Boom

    # -- ends -------------------------------------------------------------------------------

    def _note_end(self) -> None:
        self.closes += self.wrapper.connection is not None

    @property
    def _is_alone(self) -> bool:
        return not hasattr(self.wrapper, "database_pool")

    def _end(self, how: str) -> None:
        self._note_end()
        if self._is_alone:
            # After a request that leaves nothing, the connection is as good as a new one.
            if how == "thread" or not self.request.leaves_nothing:
                self.wrapper.close()
        elif how == "close":
            self.wrapper.close()
        elif how == "obsolete":
            self.wrapper.close_if_unusable_or_obsolete()
        self._wait_for_end()

    def _wait_for_end(self) -> None:
        """Wait until the server has ended the session of a connection without a pool.

        The driver says good-bye and does not wait.  A lock is free a moment later.
        """
        if self._locked_by is None or not self._is_alone or self.wrapper.connection is not None:
            return
        session, self._locked_by = self._locked_by, None
        with connections[self.beside].cursor() as cursor:
            while True:
                cursor.execute(self.dialect.gone, [session])
                if cursor.fetchone() == (0,):
                    return

    def forget(self) -> None:
        """Delete the thread's rows, past the pool."""
        Tags(self.beside, self.thread).forget()
