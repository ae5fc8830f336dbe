"""An assertion for the tests of a project: ``assert_routed_to`` checks where queries go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import connections
from django.db.backends.signals import connection_created

from . import conf
from .routing import Decision, scope
from .sql.kinds import classify
from .statements.decision_log import decided
from .statements.transactions import testcase_apart
from .validation import did_you_mean, shorten


@dataclass(frozen=True, slots=True)
class Query:
    """A query that ran, and why it ran there."""

    alias: str
    sql: str
    reason: str

    def __str__(self) -> str:
        return f"{self.alias}: {shorten(self.sql, 100)} ({self.reason})"


@contextmanager
def assert_routed_to(*aliases: str) -> Iterator[list[Query]]:
    """Assert that queries run in the block, and that each runs on one of the aliases.

    The block is routed as in production, in a scope of its own.  Earlier writes do not count.
    The transaction that ``TestCase`` wraps around a test does not count either.  The block gets
    the list of the queries that ran.

    Raises:
        ValueError: an alias is not configured.
        AssertionError: no query ran, or one ran on another alias.  The message says where each
            query went, and why.

    """
    for alias in aliases:
        if alias not in conf.databases():
            hint = did_you_mean(alias, conf.databases())
            raise ValueError(f"Database {alias!r} not configured. {hint}".strip())
    ran: list[Query] = []
    token = testcase_apart.set(True)
    try:
        with scope(), _watched(ran):
            yield ran
    finally:
        testcase_apart.reset(token)
    wanted = " or ".join(map(repr, aliases))
    if not ran:
        raise AssertionError(f"Queries should go to {wanted}, but none ran.")
    astray = [query for query in ran if query.alias not in aliases]
    if astray:
        lines = [f"{'!' if query in astray else ' '} {query}" for query in ran]
        summary = f"{len(astray)} of {len(ran)} queries did not go to {wanted}:"
        raise AssertionError("\n".join([summary, *lines]))


@contextmanager
def _watched(ran: list[Query]) -> Iterator[None]:
    """Note what runs on the connections of every thread."""
    watched: list[Any] = []

    def note(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        connection = context["connection"]
        if not classify(str(sql), connection.vendor).controls_transaction:
            alias = connection.alias
            ran.append(Query(alias, str(sql), reasons.get(alias, "named outright")))
        return execute(sql, params, many, context)

    def watch(connection: Any, **kwargs: Any) -> None:
        if note not in connection.execute_wrappers:
            connection.execute_wrappers.append(note)
            watched.append(connection)

    with _reasons() as reasons:
        for connection in connections.all(initialized_only=True):
            watch(connection)
        connection_created.connect(watch)
        try:
            yield
        finally:
            connection_created.disconnect(watch)
            for connection in watched:
                connection.execute_wrappers.remove(note)


@contextmanager
def _reasons() -> Iterator[dict[str, str]]:
    """Collect the newest reason for each alias."""
    reasons: dict[str, str] = {}

    def note(decision: Decision, **kwargs: Any) -> None:
        reasons[decision.alias] = decision.reason

    decided.connect(note)
    try:
        yield reasons
    finally:
        decided.disconnect(note)
