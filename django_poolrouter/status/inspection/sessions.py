"""Asks the servers what each connection is doing there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ...drivers.facts import ServerSession
from ...process.database_pool import describe
from ...process.mappings import pools
from ..report import ConnectionReport, ProcessPool, Report

if TYPE_CHECKING:
    from ...process.database_pool import ServerConnector

    Sessions = dict[int, ServerSession]

# The process has the connection open, and the server does not know it.
GONE = ServerSession(state="gone")
TIMEOUT = 2.0


def with_sessions(report: Report) -> Report:
    """Return the report with the server's view of every open connection.

    Each database is asked over a separate connection, which is closed at once.  A database
    that cannot be asked, or does not answer within 2 s, gets a line in the warnings.
    """
    warnings = list(report.warnings)
    used = {pool.alias for process in report.processes for pool in process.pools}
    sessions = {alias: _sessions_of(alias, warnings) for alias in sorted(used)}
    processes = tuple(
        replace(process, pools=tuple(_join(pool, sessions[pool.alias]) for pool in process.pools))
        for process in report.processes
    )
    return replace(report, processes=processes, warnings=tuple(warnings))


def _sessions_of(alias: str, warnings: list[str]) -> Sessions | None:
    """Return the server's sessions; None if there is no server, or no answer."""
    pool = None
    try:
        pool = pools[alias]
        connector = pool.connector
        if connector is None:
            return None
        return pool.answer_within(TIMEOUT, partial(_sessions, connector))
    except Exception as error:
        warnings.append(f"cannot ask the server of {alias!r}: {describe(error, pool)}")
        return None


def _sessions(connector: ServerConnector, timeout: float) -> Sessions | None:
    raw = connector.open()
    try:
        return connector.sessions(raw, timeout)
    finally:
        with suppress(Exception):
            connector.close(raw)


def _join(pool: ProcessPool, sessions: Sessions | None) -> ProcessPool:
    if sessions is None:
        return pool
    return replace(pool, connections=tuple(_joined(pool.connections, sessions)))


def _joined(
    connections: tuple[ConnectionReport, ...], sessions: Sessions
) -> Iterator[ConnectionReport]:
    for connection in connections:
        yield replace(connection, server=sessions.get(connection.backend, GONE))
