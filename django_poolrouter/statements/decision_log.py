"""Tells what was decided: the log, and the tests of a project."""

from __future__ import annotations

import logging

from django.dispatch import Signal

from ..routing import Decision

log = logging.getLogger("django_poolrouter.router")
decided = Signal()
"""Each decision about a query, as ``decision``; more often than a signal for everybody may be."""


def somebody_listens() -> bool:
    """Tell whether ``tell`` would reach anybody: it is too slow to be called for nothing."""
    return bool(decided.receivers) or log.isEnabledFor(logging.DEBUG)


def tell(what: str, decision: Decision) -> None:
    """Say where a query goes, and why."""
    decided.send(None, decision=decision)
    log.debug("%s: %s (%s)", what, decision.alias, decision.reason, extra={"decision": decision})
