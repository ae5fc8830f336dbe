"""How fast counters grow between two reports."""

from __future__ import annotations

from dataclasses import dataclass

from ..pooling import PoolStatus
from ..pooling.histogram import quantile
from .report import Report


@dataclass(frozen=True, slots=True)
class Rates:
    """What a pool did between two reports, over all processes."""

    seconds: float
    """The time between the two reports."""
    checkouts_per_s: float
    waits_per_s: float
    timeouts_per_s: float
    """Callers that got no connection: timed out, or refused."""
    connects_per_s: float
    p95_wait_s: float
    """Only of callers in this time (see ``PoolStatus.p95_wait``)."""


def rates(before: Report, after: Report) -> dict[str, Rates]:
    """Return the rates of each alias that is in both reports."""
    seconds = after.clock - before.clock
    earlier = {pool.alias: pool.status for pool in before.pools}
    return {
        pool.alias: _rates(earlier[pool.alias], pool.status, seconds)
        for pool in after.pools
        if pool.alias in earlier and seconds > 0
    }


def _rates(before: PoolStatus, after: PoolStatus, seconds: float) -> Rates:
    def grown(*names: str) -> int:
        grown: int = sum(getattr(after, name) - getattr(before, name) for name in names)
        # Never below 0: counters go back when the totals of ended processes are removed.
        return max(0, grown)

    buckets = [
        max(0, new - old) for new, old in zip(after.wait_buckets, before.wait_buckets, strict=True)
    ]
    at_once = max(0, grown("checkouts") - grown("waits"))
    return Rates(
        seconds=round(seconds, 3),
        checkouts_per_s=round(grown("checkouts") / seconds, 2),
        waits_per_s=round(grown("waits") / seconds, 2),
        timeouts_per_s=round(grown("timeouts", "refused") / seconds, 2),
        connects_per_s=round(grown("connects") / seconds, 2),
        p95_wait_s=quantile(0.95, buckets, at_once),
    )
