"""PrimaryModelBackend: who may enter is decided by the primary while it is up."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import Permission, User
from django.db import connections, transaction
from django.db.utils import OperationalError

from django_poolrouter import scope
from django_poolrouter.contrib.auth import PrimaryModelBackend
from django_poolrouter.process.registry import registry
from tests.servers import FaultProxy
from tests.support.databases import configured
from tests.support.testapp.replicated import Shop
from tests.support.testapp.site import where
from tests.support.waiting import eventually

NAME = {"username": "ada", "password": "secret"}


@pytest.fixture(scope="module")
def shop(postgresql: Any, django_db_blocker: Any) -> Shop:
    made = Shop("postgresql", postgresql, "auth")
    with django_db_blocker.unblock(), configured(made.databases()), scope():
        made.seed()
        User.objects.create_user("ada", password=NAME["password"])
        connections.close_all()
        postgresql.wait_for_replicas()
    return made


@pytest.fixture
def primary(shop: Shop, use_databases: Any, fault_proxy: Any) -> Iterator[FaultProxy]:
    """The site, whose replicas stand still, and the proxy before its primary."""
    proxy: FaultProxy = fault_proxy(shop.servers.ports["primary"])
    databases = shop.databases()
    databases["default"]["PORT"] = str(proxy.port)
    use_databases(databases)
    for replica in shop.servers.replicas:
        shop.fall_behind(replica)
    yield proxy
    proxy.mode = "pass"
    for replica in shop.servers.replicas:
        shop.catch_up(replica)
    with scope():
        User.objects.using("default").update(is_active=True)
    connections.close_all()
    shop.servers.wait_for_replicas()


def user(backend: ModelBackend) -> Any:
    with scope():
        return backend.authenticate(None, **NAME)


async def auser(backend: ModelBackend) -> Any:
    with scope():
        return await backend.aauthenticate(None, **NAME)


@pytest.mark.usefixtures("primary")
def test_disabled_user__is_out_at_once() -> None:
    pk = User.objects.get(username="ada").pk
    with scope():
        User.objects.filter(pk=pk).update(is_active=False)
    with scope():
        assert ModelBackend().get_user(pk) is not None  # the fault
        assert PrimaryModelBackend().get_user(pk) is None
    assert user(ModelBackend()) is not None
    assert user(PrimaryModelBackend()) is None
    assert async_to_sync(auser)(PrimaryModelBackend()) is None


@pytest.mark.usefixtures("primary")
def test_permissions__are_those_of_the_primary() -> None:
    ada = User.objects.get(username="ada")
    may = Permission.objects.select_related("content_type").get(codename="add_tag")
    name = f"{may.content_type.app_label}.{may.codename}"
    with scope():
        ada.user_permissions.add(may)
    try:
        for backend, expected in ((ModelBackend(), False), (PrimaryModelBackend(), True)):
            with scope():
                assert backend.has_perm(User.objects.get(pk=ada.pk), name) is expected
        with scope():
            assert where(lambda: list(PrimaryModelBackend().with_perm(name))) == ["default"]
    finally:
        with scope():
            ada.user_permissions.clear()


def test_dead_primary__leaves_the_decision_to_a_replica(
    primary: FaultProxy, caplog: pytest.LogCaptureFixture
) -> None:
    assert user(PrimaryModelBackend()) is not None
    connections.close_all()
    primary.mode = "refuse"
    primary.drop()
    with caplog.at_level(logging.WARNING, "django_poolrouter.routing"):
        assert eventually(lambda: user(PrimaryModelBackend())) is not None
        assert "the primary is down: authenticate() reads users from a replica" in caplog.text
    assert registry.topology.clusters["default"].health.primary_is_down
    with pytest.raises(OperationalError), transaction.atomic():
        PrimaryModelBackend().authenticate(None, **NAME)
