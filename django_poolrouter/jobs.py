"""Runs each job in a scope of its own, which may know what its sender wrote.

The plug-ins for task queues are built on this module.
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
"""Where a job reads.

- "wait": from replicas that have what its sender wrote, else from the primary.
- "primary": from the primary.
- "any": from any replica, for jobs that may read old rows.
"""


def carried() -> dict[str, Any]:
    """Return what a job must know about the current scope; empty if there is nothing to know.

    The result is a mapping that JSON can hold.  An open transaction pins from now on, even if it
    has not written yet.
    """
    return carry.pack(current_scope(), registry.topology.clusters.values(), in_transaction_on)


@contextmanager
def job_scope(brought: object, reads: str = "wait") -> Iterator[None]:
    """Run a job in a scope of its own.

    Its writes count for the scope around it too, because a sender may run its job at once.

    Args:
        brought: the result of ``carried()`` where the job was sent, or None.
        reads: one of READS; any other value counts as "primary".

    """
    to_unpack = brought if reads == "wait" else None
    clusters, outer = registry.topology.clusters, current_scope()
    with scope(carry.unpack(to_unpack, clusters)) as entered:
        try:
            with nullcontext() if reads in ("wait", "any") else using_primary():
                yield
        finally:
            for cluster in clusters.values():
                outer.take_over(entered, cluster.primary, cluster.pin_seconds)


def check_reads(reads: object) -> str:
    """Return the value if it is one of READS; otherwise raise ValueError, which lists them."""
    if reads not in READS:
        raise ValueError(f"reads must be one of {', '.join(map(repr, READS))}, not {reads!r}.")
    return str(reads)
