"""Stops commands that a replica would answer with silence, or with half of the work."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError

from ..process.registry import registry


def refuse_replica(*, using: str, **kwargs: Any) -> None:
    """Refuse a command for a replica; a receiver of ``pre_migrate``.

    No table belongs to a replica, so migrate would note all migrations as applied there and
    make nothing, and dumpdata would find nothing to write.

    Raises:
        CommandError: that names the primary.

    """
    cluster = registry.topology.cluster_of_replica(using)
    if cluster is not None:
        raise CommandError(
            f"{using!r} is a replica of {cluster.primary!r}, and has what that has. "
            f"Use --database={cluster.primary}."
        )
