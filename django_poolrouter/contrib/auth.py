"""An authentication backend that reads users and permissions from the primary.

On a replica that lags, a user who was disabled a moment ago is still active, and an old password
still logs in.  Put it into AUTHENTICATION_BACKENDS in place of Django's ``ModelBackend``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.contrib.auth import get_user_model
from django.contrib.auth.backends import ModelBackend
from django.db.utils import InterfaceError, OperationalError

from ..process.registry import registry
from ..router import owner, using_primary, using_replica
from ..routing import Cluster
from ..statements.transactions import in_transaction_on

logger = logging.getLogger("django_poolrouter.routing")
LOST = (OperationalError, InterfaceError)


def _cluster() -> Cluster | None:
    return owner(get_user_model(), registry.topology)


def _is_down(*, look: bool) -> bool:
    """Tell whether the primary of the users is down and its replicas can answer instead."""
    cluster = _cluster()
    if cluster is None or cluster.prober is None or not cluster.replicas:
        return False
    if in_transaction_on(cluster.primary):
        return False
    if look:
        cluster.prober.look(cluster.primary)
    return cluster.health.primary_is_down


def _warn(name: str) -> None:
    logger.warning("the primary is down: %s() reads users from a replica, which may be old", name)


def _from_primary(name: str) -> Any:
    """Return a method that runs Django's method of this name on the primary."""
    django_method: Callable[..., Any] = getattr(ModelBackend, name)

    @wraps(django_method)
    def run(self: ModelBackend, *args: Any, **kwargs: Any) -> Any:
        if not _is_down(look=False):
            try:
                with using_primary():
                    return django_method(self, *args, **kwargs)
            except LOST:
                if not _is_down(look=True):
                    raise
        _warn(name)
        with using_replica():
            return django_method(self, *args, **kwargs)

    @wraps(django_method)
    async def arun(self: ModelBackend, *args: Any, **kwargs: Any) -> Any:
        if not await sync_to_async(_is_down)(look=False):
            try:
                with using_primary():
                    return await django_method(self, *args, **kwargs)
            except LOST:
                if not await sync_to_async(_is_down)(look=True):
                    raise
        _warn(name)
        with using_replica():
            return await django_method(self, *args, **kwargs)

    return arun if iscoroutinefunction(django_method) else run


class PrimaryModelBackend(ModelBackend):
    """Django's ModelBackend, except that its reads go to the primary.

    While the primary is down, they go to a replica, and the log says so.
    """

    authenticate = _from_primary("authenticate")
    aauthenticate = _from_primary("aauthenticate")
    get_user = _from_primary("get_user")
    aget_user = _from_primary("aget_user")
    get_user_permissions = _from_primary("get_user_permissions")
    aget_user_permissions = _from_primary("aget_user_permissions")
    get_group_permissions = _from_primary("get_group_permissions")
    aget_group_permissions = _from_primary("aget_group_permissions")
    get_all_permissions = _from_primary("get_all_permissions")
    aget_all_permissions = _from_primary("aget_all_permissions")

    def with_perm(self, *args: Any, **kwargs: Any) -> Any:
        """Return Django's queryset of users who have a permission, for the primary."""
        found, cluster = super().with_perm(*args, **kwargs), _cluster()
        return found if cluster is None else found.using(cluster.primary)
