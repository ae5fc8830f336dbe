"""The report as plain aligned text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from ..drivers.facts import ServerSession
from ..pooling import PoolStatus
from .rates import Rates
from .report import ConnectionReport, PoolReport, Report

Row = Sequence[str]
Paint = Callable[[str, str], str]

FIGURES = (
    *("USED", "IDLE", "TOTAL", "MAX", "WAIT", "MAXWAIT", "OLDEST", "P95WAIT"),
    *("TIMEOUTS", "ERRORS", "MARKED"),
)
RATES = ("CHECKOUTS/S", "WAITS/S", "TIMEOUTS/S", "P95WAIT NOW")
CONNECTION = ("PID", "ALIAS", "STATE", "SINCE", "AGE", "USES", "BACKEND", "THREAD")
SESSION = ("SERVER", "FOR", "TRANSACTION", "WAITS FOR", "QUERY")
QUERY_WIDTH = 80


def pool_rows(report: Report, rates: Mapping[str, Rates] | None = None) -> list[Row]:
    """Return a heading and a row for each alias, with its rates if they are given."""
    speeds = RATES if rates is not None else ()
    has_replicas = any(pool.role == "replica" for pool in report.pools)
    routing = ("UNSAFE", "LAG") if has_replicas else ()
    rows: list[Row] = [("ALIAS", "ROLE", "PROFILE", "PROCS", *FIGURES, *speeds, *routing, "STATE")]
    for pool in report.pools:
        head = (pool.alias, role(pool), pool.profile, str(pool.processes))
        speed = _rates(rates.get(pool.alias)) if rates is not None else ()
        routed = _routing(pool) if has_replicas else ()
        rows.append((*head, *_figures(pool.status), *speed, *routed, pool.state))
    return rows


def process_rows(report: Report) -> list[Row]:
    """Return a heading and a row for each pool of each process."""
    rows: list[Row] = [("PID", "COMMAND", "STARTED", "ALIAS", *FIGURES, "STATE")]
    for process in report.processes:
        for pool in process.pools:
            head = (str(process.pid), process.command, process.started_at, pool.alias)
            rows.append((*head, *_figures(pool.status), pool.state))
    return rows


def connection_rows(report: Report, *, server: bool = False) -> list[Row]:
    """Return a heading and a row for each open connection, with the server's view if asked."""
    rows: list[Row] = [(*CONNECTION, *SESSION) if server else CONNECTION]
    for process in report.processes:
        for pool in process.pools:
            for connection in pool.connections:
                row = (str(process.pid), pool.alias, *_connection(connection))
                rows.append((*row, *_session(connection.server)) if server else row)
    return rows


def role(pool: PoolReport) -> str:
    """Return the role, and the cluster of a replica."""
    return f"replica of {pool.cluster}" if pool.role == "replica" else pool.role


def seconds(value: float) -> str:
    """Return a duration with its unit, in few characters."""
    if value < 1:
        return f"{value * 1000:.0f}ms"
    if value < 100:
        return f"{value:.1f}s"
    return f"{value / 60:.0f}min" if value < 6000 else f"{value / 3600:.0f}h"


def align(rows: Iterable[Row], paint: Paint = lambda text, column: text) -> list[str]:
    """Return lines with aligned columns, numbers to the right.  Nothing is cut off."""
    rows = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    numeric = [
        all(cell[:1].isdigit() or cell == "-" for cell in column[1:]) and len(column) > 1
        for column in zip(*rows, strict=True)
    ]
    lines = []
    for row in rows:
        cells = [
            paint(cell.rjust(width) if right else cell.ljust(width), heading)
            for cell, width, right, heading in zip(row, widths, numeric, rows[0], strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def _connection(connection: ConnectionReport) -> Row:
    return (
        connection.state,
        seconds(connection.state_age_s),
        seconds(connection.age_s),
        str(connection.uses),
        str(connection.backend or "-"),
        str(connection.thread or "-"),
    )


def _session(session: ServerSession | None) -> Row:
    if session is None:
        return ("-",) * len(SESSION)
    # A query may hold text from any user, and a terminal obeys control characters.
    text = " ".join((session.query or "-").split())
    query = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
    return (
        session.state,
        _or_dash(session.state_age_s),
        _or_dash(session.transaction_age_s),
        session.waits_for or "-",
        query if len(query) <= QUERY_WIDTH else f"{query[: QUERY_WIDTH - 1]}…",
    )


def _rates(rates: Rates | None) -> Row:
    if rates is None:
        return ("-",) * len(RATES)
    speeds = (rates.checkouts_per_s, rates.waits_per_s, rates.timeouts_per_s)
    return (*(f"{speed:.1f}" for speed in speeds), seconds(rates.p95_wait_s))


def _routing(pool: PoolReport) -> Row:
    return str(pool.status.unsafe_reads), _or_dash(pool.health.lag_s if pool.health else None)


def _or_dash(value: float | None) -> str:
    return "-" if value is None else seconds(value)


def _figures(status: PoolStatus) -> Row:
    return (
        str(status.checkedout),
        str(status.checkedin),
        str(status.open),
        str(status.max),
        str(status.waiting),
        seconds(status.oldest_wait) if status.waiting else "-",
        seconds(status.oldest_use) if status.checkedout else "-",
        seconds(status.p95_wait),
        str(status.timeouts + status.refused),
        str(status.connect_errors + status.lost),
        str(status.marked),
    )
