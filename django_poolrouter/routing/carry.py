"""What follows a user from one scope to the next: to the next request, to a task.

One format, whatever carries it (a cookie, the headers of a task): a mapping, such as JSON
can hold, from a cluster's primary to the time, in seconds since the epoch, until which its
reads stay there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from typing import Any

from .cluster import Cluster
from .scopes import Scope


def pack(scope: Scope, clusters: Iterable[Cluster]) -> dict[str, Any]:
    """Return what a later scope must know of this one; empty if nothing."""
    now = time.time()
    return {
        cluster.primary: math.floor((now + left) * 1000) / 1000
        for cluster in clusters
        if (left := scope.pinned_for(cluster.primary, cluster.pin_seconds))
    }


def unpack(carried: object, clusters: Mapping[str, Cluster]) -> Scope:
    """Return a new scope that knows what was carried; what is not of our making counts for nothing.

    Args:
        carried: of any type: it came from outside.
        clusters: by their primaries; of others nothing is known any more.

    """
    scope = Scope()
    now = time.time()
    for primary, until in carried.items() if isinstance(carried, dict) else ():
        cluster = clusters.get(primary)
        if cluster is None or not isinstance(until, float):
            continue
        # No longer than a write of this moment would pin: clocks of hosts differ.
        left = min(until - now, cluster.pin_seconds)
        if left > 0:
            scope.pin(primary, left)
    return scope


def seconds_left(carried: Mapping[str, Any]) -> float:
    """Return for how long what ``pack`` made is worth carrying."""
    return float(max(carried.values()) - time.time())
