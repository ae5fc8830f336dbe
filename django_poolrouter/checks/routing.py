"""System checks of the settings for pools and routing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import apps
from django.apps.config import AppConfig
from django.core.checks import CheckMessage, Error, Info, Warning
from django.db.models import Model

from .. import conf
from ..process.registry import registry
from ..router import owner
from ..routing import BALANCERS, ClusterConfig, Topology
from ..routing.always_primary import WITHOUT_APP
from ..validation import did_you_mean
from . import project
from .deployment import check_deployment
from .identity import check_identity

ROUTER = "django_poolrouter.router.PoolRouter"
MIDDLEWARE = "django_poolrouter.middleware.RoutingMiddleware"


def check_settings(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Report wrong settings as errors, and doubtful ones as warnings."""
    errors: list[CheckMessage] = [
        Error(f"{problem.where}: {problem.text}", hint=problem.hint or None, id="poolrouter.E001")
        for problem in conf.problems()
    ]
    clusters = conf.clusters_or_none()
    if clusters is None:
        return errors
    replicated = [cluster for cluster in clusters if cluster.replicas]
    return [
        *errors,
        *_check_installed(replicated),
        *_check_routers_before(replicated),
        *_check_transactions(replicated),
        *_check_balance(replicated),
        *_check_sessions(replicated),
        *_check_mirrors(replicated),
        *_check_positions(replicated),
        *_check_leftovers(),
        *check_identity(),
        *check_deployment(clusters, MIDDLEWARE),
    ]


def check_relations(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Warn of relations between models of two clusters."""
    topology = registry.topology_or_empty()
    if len(topology.clusters) < 2:
        return []
    configs = apps.get_app_configs() if app_configs is None else app_configs
    models = [model for config in configs for model in config.get_models()]
    return [warning for model in models for warning in _check_model(model, topology)]


def check_labels(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Warn of apps and models that the settings name but the project does not have."""
    return [
        warning for cluster in conf.clusters_or_none() or () for warning in _check_named(cluster)
    ]


def _check_named(cluster: ClusterConfig) -> Iterator[CheckMessage]:
    labels = {config.label for config in apps.get_app_configs()}
    models = {model._meta.label.lower(): model._meta.label for model in apps.get_models()}
    named = {
        "APPS": cluster.apps | cluster.models,
        "ALWAYS_PRIMARY": (cluster.always_primary.named | cluster.always_primary.removed)
        - WITHOUT_APP,
    }
    for option, names in named.items():
        for name in sorted(names - labels - models.keys()):
            yield Warning(
                f"{option} of {cluster.primary!r} names {name!r}, but there is no such "
                f"{'model' if '.' in name else 'app'}.",
                hint=did_you_mean(name, {*labels, *models.values()})
                or "Name apps by their label, and models as in 'app_label.Model'.",
                id="poolrouter.W013",
            )


def _check_model(model: type[Model], topology: Topology) -> Iterator[CheckMessage]:
    home = owner(model, topology)
    for field in (*model._meta.local_fields, *model._meta.local_many_to_many):
        target = field.related_model
        if not isinstance(target, type) or model._meta.proxy:
            continue
        other = owner(target, topology)
        if home and other and home is not other:
            yield Warning(
                f"{model._meta.label}.{field.name} leads from cluster {home.primary!r} to "
                f"{target._meta.label} in cluster {other.primary!r}: no constraint and no join "
                "can span two databases, and the router refuses to assign such an object.",
                hint="Put both models into the APPS of one cluster, or store only the key.",
                obj=field,
                id="poolrouter.W006",
            )


def _check_installed(replicated: list[ClusterConfig]) -> Iterator[CheckMessage]:
    if replicated and not project.uses_router(ROUTER):
        yield Warning(
            "DATABASES has replicas, but no read goes to them.",
            hint=f"Add {ROUTER!r} to DATABASE_ROUTERS.",
            id="poolrouter.W002",
        )
    pinning = any(
        c.read_your_writes != "off" and (c.pin_seconds or _uses_positions(c)) for c in replicated
    )
    if pinning and not project.uses_middleware(MIDDLEWARE):
        yield Warning(
            "Users may not see what they wrote in an earlier request.",
            hint=f"Add {MIDDLEWARE!r} near the top of MIDDLEWARE.",
            id="poolrouter.W003",
        )


def _check_routers_before(replicated: list[ClusterConfig]) -> Iterator[CheckMessage]:
    for name in project.routers_before(ROUTER) if replicated else ():
        yield Warning(
            f"The router {name} comes before {ROUTER!r} and is asked first: a query that it "
            "answers is neither pinned nor balanced.",
            hint="Put it after ours, or silence this if it only answers for databases of no "
            "cluster.",
            id="poolrouter.W009",
        )


def _check_balance(replicated: list[ClusterConfig]) -> Iterator[CheckMessage]:
    databases = conf.databases()
    for cluster in replicated:
        weighed = [replica.alias for replica in cluster.replicas if replica.weight != 1]
        if weighed and cluster.balancer in BALANCERS and cluster.balancer != "weighted":
            yield Warning(
                f"DATABASES[{weighed[0]!r}] has a WEIGHT, but BALANCER "
                f"{cluster.balancer!r} of {cluster.primary!r} ignores it.",
                hint='Use BALANCER "weighted".',
                id="poolrouter.W007",
            )
        engines = [(r.alias, databases[r.alias]["ENGINE"]) for r in cluster.replicas]
        foreign = [alias for alias, engine in engines if conf.backend(engine) is None]
        if foreign and cluster.balancer == "least_used":
            yield Warning(
                f"DATABASES[{foreign[0]!r}] has no pool, so BALANCER 'least_used' of "
                f"{cluster.primary!r} always sees it as unused.",
                hint="Give it a pooled ENGINE, or use another BALANCER.",
                id="poolrouter.W008",
            )


def _check_sessions(replicated: list[ClusterConfig]) -> Iterator[CheckMessage]:
    for cluster in replicated if project.sessions_in_database() else ():
        owns = "sessions" in cluster.apps or cluster.primary == "default"
        if owns and cluster.always_primary.rule("sessions", "session") is False:
            yield Warning(
                f"Sessions are kept in the database, and ALWAYS_PRIMARY of {cluster.primary!r} "
                "removes them: a user who just logged in may be unknown in the next request.",
                hint="Remove '!sessions' from ALWAYS_PRIMARY, or use another SESSION_ENGINE.",
                id="poolrouter.W011",
            )


def _check_mirrors(replicated: list[ClusterConfig]) -> Iterator[CheckMessage]:
    databases = conf.databases()
    for cluster in replicated:
        for replica in cluster.replicas:
            mirror = databases[replica.alias]["TEST"]["MIRROR"]
            if mirror not in (None, cluster.primary):
                yield Warning(
                    f"DATABASES[{replica.alias!r}]['TEST']['MIRROR'] is {mirror!r}, but its "
                    f"primary is {cluster.primary!r}: tests do not read what they wrote.",
                    hint="Remove it: replicas are mirrors of their primary by default.",
                    id="poolrouter.W012",
                )


def _uses_positions(cluster: ClusterConfig) -> bool:
    return cluster.read_your_writes == "position" and conf.tells_positions(cluster)


def _check_positions(replicated: list[ClusterConfig]) -> Iterator[CheckMessage]:
    for cluster in replicated:
        if cluster.read_your_writes == "position" and not _uses_positions(cluster):
            yield Info(
                f"The databases of {cluster.primary!r} report no position in the replication log. "
                "After a write, reads stay on the primary for PIN_SECONDS "
                f"({cluster.pin_seconds:g} s), however far its replicas are behind.",
                hint='Use our engines for PostgreSQL, MySQL or MariaDB, or READ_YOUR_WRITES "pin".',
                id="poolrouter.I001",
            )


def _check_leftovers() -> Iterator[CheckMessage]:
    for alias, database in conf.databases().items():
        if "POOL_OPTIONS" in database and conf.backend(database["ENGINE"]) is not None:
            yield Warning(
                f"DATABASES[{alias!r}] has POOL_OPTIONS, which this ENGINE ignores.",
                hint="Move them into OPTIONS['pool'], with 'pool_size' for POOL_SIZE and so on.",
                id="poolrouter.W014",
            )


def _check_transactions(replicated: list[ClusterConfig]) -> Iterator[CheckMessage]:
    databases = conf.databases()
    for cluster in replicated:
        if databases[cluster.primary]["ATOMIC_REQUESTS"]:
            yield Warning(
                f"DATABASES[{cluster.primary!r}] has ATOMIC_REQUESTS and replicas: every request "
                "is a transaction on the primary, so all its reads stay there.",
                hint="Use transaction.atomic() where you need it, instead of ATOMIC_REQUESTS, or "
                "remove the replicas.",
                id="poolrouter.W001",
            )
        for replica in cluster.replicas:
            if databases[replica.alias]["ATOMIC_REQUESTS"]:
                yield Warning(
                    f"DATABASES[{replica.alias!r}] is a replica and has ATOMIC_REQUESTS: every "
                    "request opens a transaction there, which cannot write anything.",
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
