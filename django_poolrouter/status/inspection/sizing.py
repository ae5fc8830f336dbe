"""How large a pool should be, from its observed use.

Little's law: the average number of connections in use is the number of checkouts per second
times the seconds that each connection is held.  If callers come at random, then the number in
use stays below that average plus two of its square roots for 97 % of the time.  A pool should
keep that many.  Overflow serves the rest.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...pooling import PoolConfig
from ..rates import rates
from ..report import Report, collect

SAMPLE_EVERY = 0.02
# A pool that opens connections for more than this share of its checkouts is too small.
CHURN = 0.02
# Fewer checkouts are too few for advice, unless connections are in use all the time.
ENOUGH = 20


@dataclass(frozen=True, slots=True)
class Use:
    """The use of a pool over some time."""

    seconds: float
    checkouts_per_s: float
    """The sum of all processes."""
    in_use: float
    """The average, summed over all processes."""
    busiest: float
    """The average of the process that used most."""
    peak: int
    """The most that one process used at once."""
    waits_per_s: float
    p95_wait_s: float
    connects_per_s: float

    @property
    def held_s(self) -> float:
        """Seconds that a connection was held, on average (Little's law)."""
        return self.in_use / self.checkouts_per_s if self.checkouts_per_s else 0.0

    @property
    def wanted(self) -> int:
        """The pool_size that this use calls for."""
        return max(1, math.ceil(self.busiest + 2 * math.sqrt(self.busiest)))


def observe(seconds: float) -> dict[str, Use]:
    """Watch the processes of this host for so many seconds, and return the use of each alias."""
    reports = [collect()]
    if not reports[0].processes:
        return {}
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(SAMPLE_EVERY)
        reports.append(collect())
    return {pool.alias: _use(pool.alias, reports) for pool in reports[0].pools if pool.processes}


def advise(use: Use, config: PoolConfig) -> Iterable[str]:
    """Yield advice on the pool's size, a sentence each."""
    seen = round(use.checkouts_per_s * use.seconds)
    if not seen or (seen < ENOUGH and use.in_use < 1):
        yield f"{seen} checkouts within {use.seconds:.1f} s: too few to advise on pool_size"
        return
    yield (
        f"{use.checkouts_per_s:.1f} checkouts/s, each for {use.held_s * 1000:.1f} ms: "
        f"{use.in_use:.1f} in use on average, {use.busiest:.1f} in the busiest process and "
        f"{use.peak} at most; that calls for pool_size {use.wanted} (it is {config.pool_size})"
    )
    if use.waits_per_s and use.peak >= config.max:
        yield (
            f"{use.waits_per_s:.1f} callers/s had to wait and size + overflow is used up: raise "
            f"the sum above {config.max}, hold connections for less than "
            f"{use.held_s * 1000:.1f} ms, or use fewer threads"
        )
    elif use.connects_per_s > CHURN * use.checkouts_per_s:
        yield (
            f"{use.connects_per_s:.1f} connections/s are opened: raise pool_size from "
            f"{config.pool_size} to {max(use.wanted, use.peak)}, because overflow is closed at "
            "checkin"
        )


def _use(alias: str, reports: Sequence[Report]) -> Use:
    speed = rates(reports[0], reports[-1]).get(alias)
    totals: list[int] = []
    of_process: dict[str, list[int]] = {}
    for report in reports:
        used = {
            process.id: pool.status.checkedout
            for process in report.processes
            for pool in process.pools
            if pool.alias == alias
        }
        totals.append(sum(used.values()))
        for process, number in used.items():
            of_process.setdefault(process, []).append(number)
    return Use(
        seconds=speed.seconds if speed else 0.0,
        checkouts_per_s=speed.checkouts_per_s if speed else 0.0,
        in_use=sum(totals) / len(totals),
        busiest=max((sum(n) / len(n) for n in of_process.values()), default=0.0),
        peak=max((max(n) for n in of_process.values()), default=0),
        waits_per_s=speed.waits_per_s if speed else 0.0,
        p95_wait_s=speed.p95_wait_s if speed else 0.0,
        connects_per_s=speed.connects_per_s if speed else 0.0,
    )
