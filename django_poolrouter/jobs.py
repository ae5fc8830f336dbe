"""Jobs: each runs in a scope of its own, which may know what its sender wrote.

The plug-ins for task queues are made of this.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from .process.registry import registry
from .router import using_primary
from .routing import carry, current_scope, scope
from .statements.transactions import in_transaction_on

READS = ("wait", "primary", "any")
"""Where a job reads: "wait": from replicas that show what its sender wrote, else from the
primary; "primary": there; "any": from any replica, for jobs that do not mind old rows."""


def carried() -> dict[str, Any]:
    """Return what a job must know of the current scope, as JSON can hold it; empty if nothing.

    A transaction that still goes on pins from now on, be it that it wrote nothing yet.
    """
    return carry.pack(current_scope(), registry.topology.clusters.values(), in_transaction_on)


@contextmanager
def job_scope(brought: object, reads: str = "wait") -> Iterator[None]:
    """Run a job in its scope.

    What it wrote counts for the scope around it, too: a job may be run by its sender, at once.

    Args:
        brought: what ``carried()`` returned where the job was sent, or None.
        reads: one of READS; anything else counts as "primary".

    """
    known = brought if reads == "wait" else None
    clusters, outer = registry.topology.clusters, current_scope()
    with scope(carry.unpack(known, clusters)) as entered:
        try:
            with nullcontext() if reads in ("wait", "any") else using_primary():
                yield
        finally:
            for cluster in clusters.values():
                outer.take_over(entered, cluster.primary, cluster.pin_seconds)


def check_reads(reads: object) -> str:
    """Return the policy, or raise ValueError that names those there are."""
    if reads not in READS:
        raise ValueError(f"reads must be one of {', '.join(map(repr, READS))}, not {reads!r}.")
    return str(reads)
