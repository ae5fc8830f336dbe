"""System checks: what ``manage.py check`` says of the settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps.config import AppConfig
from django.core.checks import CheckMessage, Error, Info, Warning

from . import conf
from .check_deployment import check_deployment
from .options import ConfigError
from .routing import ClusterConfig

ROUTER = "django_poolrouter.router.PoolRouter"
MIDDLEWARE = "django_poolrouter.middleware.RoutingMiddleware"


def check_settings(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Report wrong settings as errors and doubtful ones as warnings."""
    errors: list[CheckMessage] = [
        Error(f"{problem.where}: {problem.text}", hint=problem.hint or None, id="poolrouter.E001")
        for problem in conf.problems()
    ]
    try:
        clusters = conf.clusters()
    except ConfigError:
        return errors
    replicated = [cluster for cluster in clusters if cluster.replicas]
    return [
        *errors,
        *_check_installed(replicated),
        *_check_transactions(replicated),
        *_check_positions(replicated),
        *check_deployment(clusters, MIDDLEWARE),
    ]


def _check_installed(replicated: list[ClusterConfig]) -> Iterator[CheckMessage]:
    if replicated and not conf.uses_router(ROUTER):
        yield Warning(
            "DATABASES has replicas, but no read goes to them.",
            hint=f"Add {ROUTER!r} to DATABASE_ROUTERS.",
            id="poolrouter.W002",
        )
    pinning = any(
        c.read_your_writes != "off" and (c.pin_seconds or _uses_positions(c)) for c in replicated
    )
    if pinning and not conf.uses_middleware(MIDDLEWARE):
        yield Warning(
            "Users may not see what they wrote in an earlier request.",
            hint=f"Add {MIDDLEWARE!r} near the top of MIDDLEWARE.",
            id="poolrouter.W003",
        )


def _uses_positions(cluster: ClusterConfig) -> bool:
    return cluster.read_your_writes == "position" and conf.tells_positions(cluster)


def _check_positions(replicated: list[ClusterConfig]) -> Iterator[CheckMessage]:
    for cluster in replicated:
        if cluster.read_your_writes == "position" and not _uses_positions(cluster):
            yield Info(
                f"The databases of {cluster.primary!r} do not tell how far replication is: after a "
                f"write, reads stay on the primary for PIN_SECONDS ({cluster.pin_seconds:g} s), "
                "however far its replicas are behind.",
                hint='Use our engines for PostgreSQL, MySQL or MariaDB, or READ_YOUR_WRITES "pin".',
                id="poolrouter.I001",
            )


def _check_transactions(replicated: list[ClusterConfig]) -> Iterator[CheckMessage]:
    databases = conf.databases()
    for cluster in replicated:
        if databases[cluster.primary]["ATOMIC_REQUESTS"]:
            yield Warning(
                f"DATABASES[{cluster.primary!r}] has ATOMIC_REQUESTS and replicas: every request "
                "is a transaction on the primary, and so all its reads stay there.",
                hint="Use transaction.atomic() where it is needed, or no replicas.",
                id="poolrouter.W001",
            )
        for replica in cluster.replicas:
            if databases[replica.alias]["ATOMIC_REQUESTS"]:
                yield Warning(
                    f"DATABASES[{replica.alias!r}] is a replica and has ATOMIC_REQUESTS: every "
                    "request opens a transaction there, and nothing can be written in it.",
                    hint="Remove it from the replica's entry.",
                    id="poolrouter.W004",
                )
            if databases[replica.alias]["ENGINE"] != databases[cluster.primary]["ENGINE"]:
                yield Warning(
                    f"DATABASES[{replica.alias!r}] has another ENGINE than its primary "
                    f"{cluster.primary!r}.",
                    hint="Give all databases of a cluster the same ENGINE.",
                    id="poolrouter.W005",
                )
