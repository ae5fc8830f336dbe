"""Stops commands that would do nothing on a replica, or only half of their work."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError

from ..process.registry import registry


def refuse_replica(*, using: str, **kwargs: Any) -> None:
    """Refuse a command for a replica; a receiver of ``pre_migrate``.

    No model belongs to a replica.  So migrate would record all migrations as applied there and
    create no table, and dumpdata would write an empty list.

    Raises:
        CommandError: the alias is a replica; the message names its primary.

    """
    cluster = registry.topology.cluster_of_replica(using)
    if cluster is not None:
        raise CommandError(
            f"{using!r} is a replica of {cluster.primary!r} and replays its changes. "
            f"Use --database={cluster.primary}."
        )
