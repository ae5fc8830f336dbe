"""Makes the page's content: texts for its cells, and numbers for its charts.

Everything comes from the report's JSON document.  So the page and `poolstatus --json` agree,
and a figure that is added to the document appears on the page too.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.utils.formats import number_format
from django.utils.timezone import localtime
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from ...status.document import document
from ...status.report import Report

NOTHING = "\N{EN DASH}"
STATES = {
    "ok": _("OK"),
    "lagging": _("Lags behind"),
    "drained": _("Drained"),
    "busy": _("Nearly full"),
    "full": _("Full"),
    "ejected": _("Out of service"),
    "waiting": _("Callers wait"),
    "exhausted": _("Full, callers wait"),
    "unused": _("Not opened"),
}
LABELS = {
    "lag_s": _("Lag"),
    "processes": _("Processes"),
    "ended_processes": _("Ended processes"),
    "size": _("Size"),
    "max": _("Max"),
    "open": _("Open"),
    "in_use": _("In use"),
    "idle": _("Idle"),
    "overflow": _("Overflow"),
    "peak_open": _("Peak open"),
    "opening": _("Opening"),
    "waiting": _("Waiting"),
    "oldest_wait_s": _("Longest wait"),
    "oldest_use_s": _("Longest use"),
    "checkouts": _("Checkouts"),
    "waits": _("Waits"),
    "waited_s": _("Total wait"),
    "p95_wait_s": _("95 % waited at most"),
    "timeouts": _("Timeouts"),
    "refused": _("Refused"),
    "connects": _("Connects"),
    "connect_errors": _("Connect errors"),
    "closes": _("Closes"),
    "lost": _("Lost"),
    "recycled": _("Recycled"),
    "cleared": _("Cleared"),
    "leaks": _("Leaks"),
    "resets": _("Sessions cleared"),
    "marked": _("Marked leases"),
    "unsafe_reads": _("Reads of unsafe requests"),
}
PROCESS_FIGURES = (
    *("in_use", "idle", "max", "waiting", "oldest_wait_s", "oldest_use_s"),
    "timeouts",
)
# The lowest top that a chart may have.  Without it, one short wait would fill the chart.
LEAST_TOP = {"waiting": 5, "oldest_wait_s": 1, "lag_s": 1}


def content(report: Report) -> dict[str, Any]:
    """Return the page's content as plain data, with texts in the active language."""
    data = document(report)
    return {
        "host": data["host"],
        "time": localtime(report.generated_at).strftime("%H:%M:%S"),
        "summary": _summary(len(report.processes)),
        "alarm": _alarm(data["pools"]),
        "warnings": " ".join(data["warnings"]),
        "has_lag": any(pool["role"] == "replica" for pool in data["pools"]),
        "pools": {"rows": [_pool_row(pool, data["processes"]) for pool in data["pools"]]},
        "processes": _process_table(data, report.generated_at),
        "figures": _figure_table(data["pools"]),
    }


def _summary(processes: int) -> str:
    template = ngettext("%(count)s live process", "%(count)s live processes", processes)
    return template % {"count": number_format(processes)}


def _alarm(pools: list[dict[str, Any]]) -> str:
    """Name the pools in trouble, because their rows may be far down the page."""
    waiting = ", ".join(pool["alias"] for pool in pools if pool["waiting"])
    ejected = ", ".join(pool["alias"] for pool in pools if pool["health"] == "ejected")
    alarms = [gettext("Callers wait: %(aliases)s") % {"aliases": waiting}] if waiting else []
    alarms += [gettext("Out of service: %(aliases)s") % {"aliases": ejected}] if ejected else []
    return " · ".join(alarms)


# -- the pools ----------------------------------------------------------------


def _pool_row(pool: Mapping[str, Any], processes: list[dict[str, Any]]) -> dict[str, Any]:
    most = pool["max"] or 1
    word = _state(pool)
    return {
        "key": pool["alias"],
        "state": word,
        "cells": {
            "alias": pool["alias"],
            "about": f"{_role(pool)} · {pool['profile']}",
            "state": str(STATES.get(word, word)),
            "where": _where(pool, processes),
            "in_use": number(pool["in_use"]),
            "of": gettext("of %(max)s") % {"max": number(pool["max"])},
            "timeouts": number(pool["timeouts"]),
            "connect_errors": number(pool["connect_errors"]),
            **{name: _now(pool, name) for name in LEAST_TOP},
        },
        "bars": {
            "open": f"{100 * min(pool['open'] / most, 1):.1f}",
            "in_use": f"{100 * min(pool['in_use'] / most, 1):.1f}",
        },
        "traces": {
            "in_use": {"value": pool["in_use"], "text": number(pool["in_use"]), "top": most},
            **{
                name: {"value": pool[name], "text": _now(pool, name), "top": top}
                for name, top in LEAST_TOP.items()
            },
        },
    }


def _role(pool: Mapping[str, Any]) -> str:
    if pool["role"] == "replica":
        return gettext("replica of %(cluster)s") % {"cluster": pool["cluster"]}
    return gettext("primary") if pool["role"] == "primary" else gettext("standalone")


def _where(pool: Mapping[str, Any], processes: list[dict[str, Any]]) -> str:
    """Count the processes, and the full ones: sums over all processes would hide these."""
    own = [p for process in processes for p in process["pools"] if p["alias"] == pool["alias"]]
    full = sum(p["in_use"] >= p["max"] for p in own)
    template = ngettext("%(count)s process", "%(count)s processes", len(own))
    if full and len(own) > 1:
        template = gettext("full in %(full)s of %(count)s processes")
    return template % {"count": number(len(own)), "full": number(full)}


def _now(pool: Mapping[str, Any], name: str) -> str:
    """Return a figure as text.  The longest wait is a dash if no caller waits."""
    if name == "oldest_wait_s" and not pool["waiting"]:
        return NOTHING
    return text(name, pool[name])


def _state(pool: Mapping[str, Any]) -> str:
    """Return the report's state, or "full" for a pool that is full before any caller waits."""
    is_full = pool["state"] == "busy" and pool["in_use"] >= pool["max"]
    return "full" if is_full else str(pool["state"])


# -- the other tables ---------------------------------------------------------


def _process_table(data: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    order = {pool["alias"]: index for index, pool in enumerate(data["pools"])}
    rows = [
        _process_row(process, pool, now)
        for process in data["processes"]
        for pool in sorted(process["pools"], key=lambda p: order.get(p["alias"], len(order)))
    ]
    columns = [
        ("pid", _("Process")),
        ("command", _("Command")),
        ("running", _("Running for")),
        ("alias", _("Database")),
        ("state", _("State")),
        *((name, LABELS[name]) for name in PROCESS_FIGURES),
        ("connect_errors", _("Errors")),
    ]
    return {"columns": [_column(name, label) for name, label in columns], "rows": rows}


def _process_row(
    process: Mapping[str, Any], pool: Mapping[str, Any], now: datetime
) -> dict[str, Any]:
    running = now - datetime.fromisoformat(process["started_at"])
    word = _state(pool)
    cells = {
        "pid": str(process["pid"]),
        "command": process["command"],
        "running": duration(max(0.0, running.total_seconds())),
        "alias": pool["alias"],
        "state": str(STATES.get(word, word)),
        **{name: text(name, pool[name]) for name in PROCESS_FIGURES},
        "connect_errors": number(pool["connect_errors"]),
    }
    return {"key": f"{process['id']}/{pool['alias']}", "state": word, "cells": cells}


def _figure_table(pools: list[dict[str, Any]]) -> dict[str, Any]:
    # If a value is None, its type is unknown: it may be a missing cluster or a missing figure.
    names = [
        name
        for name in (pools[0] if pools else {})
        if name in LABELS or any(isinstance(pool[name], (int, float)) for pool in pools)
    ]
    columns = [_column("alias", _("Database"))]
    columns += [_column(name, LABELS.get(name, _spoken(name))) for name in names]
    rows = [
        {
            "key": pool["alias"],
            "cells": {"alias": pool["alias"]} | {name: text(name, pool[name]) for name in names},
        }
        for pool in pools
    ]
    return {"columns": columns, "rows": rows}


def _column(name: str, label: Any) -> dict[str, Any]:
    is_text = name in ("pid", "command", "alias", "state")
    return {"name": name, "label": str(label), "numeric": not is_text}


def _spoken(name: str) -> str:
    return name.removesuffix("_s").replace("_", " ").capitalize()


# -- texts --------------------------------------------------------------------


def text(name: str, value: Any) -> str:
    """Return a figure of the document as text with its unit."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return gettext("yes") if value else gettext("no")
    if name == "lag_s" and not value:  # the replica has everything, and a dash would hide that
        return gettext("none")
    return duration(value) if name.endswith("_s") else number(value)


def number(value: float) -> str:
    """Return a number as the active language writes it."""
    return number_format(value, decimal_pos=None if isinstance(value, int) else 2)


def duration(seconds: float) -> str:
    """Return a time in seconds as text, in the unit that keeps it short: ms, s, min or h."""
    if not seconds:
        return NOTHING
    if seconds < 1:
        return gettext("%(value)s ms") % {"value": number_format(1000 * seconds, decimal_pos=0)}
    if seconds < 100:
        return gettext("%(value)s s") % {"value": number_format(seconds, decimal_pos=1)}
    if seconds < 6000:
        return gettext("%(value)s min") % {"value": number_format(seconds / 60, decimal_pos=0)}
    return gettext("%(value)s h") % {"value": number_format(seconds / 3600, decimal_pos=0)}
