"""The answer of the router."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Decision:
    """Which alias a query goes to, and why."""

    alias: str
    reason: str
