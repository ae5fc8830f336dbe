"""The app configuration: it sets up the package when Django starts."""

from __future__ import annotations

from django.apps import AppConfig
from django.core import checks
from django.db import connections
from django.db.backends.signals import connection_created
from django.db.models.signals import pre_migrate

from . import conf
from .checks.packages import check_packages
from .checks.routing import check_labels, check_relations, check_settings
from .management.refuse_replica import refuse_replica
from .process.registry import registry
from .statements import blocks, objects
from .statements.recorder import record_statements
from .status.boards.writer import Publisher


class PoolRouterConfig(AppConfig):
    """Pooled connections and read/write routing."""

    name = "django_poolrouter"
    label = "poolrouter"
    verbose_name = "Database connection pools"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the checks, record statements, mirror replicas and publish figures."""
        checks.register(check_settings)
        checks.register(check_packages)
        checks.register(check_labels, checks.Tags.models)
        checks.register(check_relations, checks.Tags.models)
        join_django()
        pre_migrate.connect(refuse_replica, dispatch_uid="django_poolrouter")
        Publisher(registry).start()
        mirror_replicas()


def join_django() -> None:
    """Connect to Django what the settings need: nothing without replicas.

    Statements on engines that are not ours are recorded if a cluster with replicas has one.

    If no cluster has one, no receiver is connected.  Our own backends send the signal too, and a
    receiver would cost a fifth of each checkout.
    """
    replicated = conf.has_replicas()
    blocks.open_on_primaries(replicated=replicated)
    objects.write_to_primaries(replicated=replicated)
    if conf.has_other_engines():
        connection_created.connect(record_statements, dispatch_uid="django_poolrouter")
    else:
        connection_created.disconnect(dispatch_uid="django_poolrouter")


def mirror_replicas() -> None:
    """Make each replica a test mirror of its primary, unless its settings name a mirror.

    Otherwise a test run would try to create a test database on a read-only server.
    """
    for cluster in conf.clusters_or_none() or ():
        for replica in cluster.replicas:
            test = connections.settings[replica.alias]["TEST"]
            if test["MIRROR"] is None:
                test["MIRROR"] = cluster.primary
