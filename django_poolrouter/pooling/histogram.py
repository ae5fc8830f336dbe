"""A histogram of waits: enough for quantiles, cheap to keep and to add up."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

# Upper bounds in seconds.  A quantile is the bound of its bucket, so it is never too low
# and at most 2.5 times too high.
WAIT_BOUNDS = tuple(step * 10.0**power for power in range(-3, 3) for step in (1, 2, 5))
_BOUNDS_NS = tuple(round(bound * 1e9) for bound in WAIT_BOUNDS)
# One more bucket is for waits above the last bound.
WAIT_BUCKETS = len(WAIT_BOUNDS) + 1


def bucket(waited: int) -> int:
    """Return the number of the bucket for a wait in nanoseconds."""
    return bisect_left(_BOUNDS_NS, waited)


def quantile(share: float, buckets: Sequence[int], at_once: int = 0) -> float:
    """Return the seconds within which ``share`` of all callers were served.

    Args:
        share: 0.95 for "95 % of the callers".
        buckets: the number of callers in each bucket.
        at_once: the number of callers that did not wait.

    """
    rank = math.ceil(share * (at_once + sum(buckets)))
    seen = at_once
    if rank <= seen:
        return 0.0
    for count, bound in zip(buckets, WAIT_BOUNDS, strict=False):
        seen += count
        if rank <= seen:
            return bound
    return WAIT_BOUNDS[-1]
