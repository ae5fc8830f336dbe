"""Reports each decision to the log, and to the tests of a project."""

from __future__ import annotations

import logging

from django.dispatch import Signal

from ..routing import Decision

log = logging.getLogger("django_poolrouter.router")
decided = Signal()
"""Sent with each ``decision``.  Private: sent for every query, too often for a public signal."""


def has_listeners() -> bool:
    """Tell whether ``announce`` has any effect.  If not, skip it, because it is slow."""
    return bool(decided.receivers) or log.isEnabledFor(logging.DEBUG)


def announce(what: str, decision: Decision) -> None:
    """Send and log where a query goes, and why."""
    decided.send(None, decision=decision)
    log.debug("%s: %s (%s)", what, decision.alias, decision.reason, extra={"decision": decision})
