"""Doubtful settings of routing, and relations that no cluster can have: what is said of them."""

from __future__ import annotations

from typing import Any

import pytest
from django.core import checks
from django.db import models
from django.test.utils import isolate_apps

from django_poolrouter.checks.routing import MIDDLEWARE, ROUTER, check_labels, check_relations
from tests.support.testapp.orders.models import Order
from tests.support.testapp.shop.models import Note
from tests.unit.checks.test_settings import STOCK, Setup, setup

__all__ = ["setup"]

SESSIONS = "django.contrib.sessions.middleware.SessionMiddleware"
AUTH = "django.contrib.auth.middleware.AuthenticationMiddleware"


class Chooser:
    """A router that chooses databases."""

    def db_for_read(self, model: Any, **hints: Any) -> None:
        return None


class Migrator:
    """A router that does not."""

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> None:
        return None


def always(labels: list[str]) -> dict[str, Any]:
    return {"READ_YOUR_WRITES": "pin", "ALWAYS_PRIMARY": labels}


def only(setup: Setup) -> str:
    [text] = setup.texts()
    return text


# -- balancers --------------------------------------------------------------------------


def test_weight__that_no_balancer_looks_at(setup: Setup) -> None:
    setup.databases["replica1"]["ROUTER"]["WEIGHT"] = 2
    told = "poolrouter.W007 DATABASES['replica1'] has a WEIGHT, but BALANCER 'round_robin' of"
    assert only(setup).startswith(told)
    for balancer in ("weighted", "tests.unit.checks.test_settings.last"):
        setup.databases["default"]["ROUTER"] = {"READ_YOUR_WRITES": "pin", "BALANCER": balancer}
        assert setup.messages() == []


def test_least_used__of_replicas_without_pool(setup: Setup) -> None:
    setup.databases["default"]["ROUTER"] = {"READ_YOUR_WRITES": "pin", "BALANCER": "least_used"}
    assert setup.messages() == []
    for alias in ("default", "replica1"):
        setup.databases[alias]["ENGINE"] = STOCK
    assert only(setup).startswith("poolrouter.W008 DATABASES['replica1'] has no pool, so BALANCER")


# -- order ------------------------------------------------------------------------------


def test_router__that_is_asked_before_ours(setup: Setup) -> None:
    setup.settings["DATABASE_ROUTERS"] = [Migrator(), Chooser(), ROUTER]
    told = f"poolrouter.W009 The router {__name__}.Chooser comes before '{ROUTER}' and is asked"
    assert only(setup).startswith(told)
    setup.settings["DATABASE_ROUTERS"] = [ROUTER, Chooser()]
    assert setup.messages() == []


# -- sessions and mirrors ---------------------------------------------------------------


def test_sessions__that_may_be_read_from_a_replica(setup: Setup) -> None:
    setup.settings["MIDDLEWARE"] = [MIDDLEWARE, SESSIONS]
    for kept in ([], ["sessions"], ["sessions.Session"], ["!sessions", "sessions.Session"]):
        setup.databases["default"]["ROUTER"] = always(kept)
        assert setup.messages() == []
    setup.databases["default"]["ROUTER"] = always(["!sessions"])
    assert only(setup).startswith("poolrouter.W011 Sessions are kept in the database, and ALWAYS_")
    setup.settings["SESSION_ENGINE"] = "django.contrib.sessions.backends.cache"
    assert setup.messages() == []


def test_mirror__of_another_database(setup: Setup) -> None:
    setup.databases["replica1"]["TEST"] = {"MIRROR": "orders"}
    told = "poolrouter.W012 DATABASES['replica1']['TEST']['MIRROR'] is 'orders', but its primary"
    assert only(setup).startswith(told)
    setup.databases["replica1"]["TEST"] = {"MIRROR": "default"}
    assert setup.messages() == []


# -- relations --------------------------------------------------------------------------


def relations(setup: Setup, **kwargs: Any) -> list[str]:
    setup.use()
    return [f"{m.id} {m.msg}" for m in check_relations(**kwargs)]


def test_relations__within_clusters_are_fine(setup: Setup) -> None:
    assert relations(setup) == []


def test_relations__between_clusters(setup: Setup) -> None:
    setup.databases["orders"]["ROUTER"] = {"APPS": ["shop.Note", "shop.Tag"]}
    told = relations(setup)
    assert [text.split(" leads ")[0] for text in told] == [
        "poolrouter.W006 shop.Note.content_type",
        "poolrouter.W006 shop.Book.tags",
    ]
    assert "from cluster 'orders' to contenttypes.ContentType in cluster 'default'" in told[0]
    [message] = [m for m in checks.run_checks(tags=["models"]) if m.obj is Note.content_type.field]
    assert message.id == "poolrouter.W006"


@isolate_apps("tests.support.testapp.shop")
def test_relations__from_one_app_alone(setup: Setup) -> None:
    from django.apps import apps

    class Payment(models.Model):  # noqa: DJ008
        order = models.OneToOneField(Order, models.CASCADE, primary_key=True)

        class Meta:
            app_label = "shop"

    class Config:
        def get_models(self) -> list[Any]:
            return [Payment]

    [text] = relations(setup, app_configs=[Config()])
    assert text.startswith("poolrouter.W006 shop.Payment.order leads from cluster 'default'")
    assert relations(setup, app_configs=[apps.get_app_config("shop")]) == []


def test_relations__are_not_looked_at_while_settings_are_wrong(setup: Setup) -> None:
    setup.databases["replica1"]["ROUTER"] = {"REPLICA_OF": "nowhere"}
    assert relations(setup) == []


# -- names ------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["APPS", "ALWAYS_PRIMARY"])
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("ordrs", "names 'ordrs', but there is no such app. Did you mean 'orders'?"),
        ("orders.Lines", "but there is no such model. Did you mean 'orders.Line'?"),
        ("far.away.apps", "no such model. Name apps by their label, and models as in"),
    ],
)
def test_names__of_no_app_and_no_model(setup: Setup, option: str, name: str, told: str) -> None:
    setup.databases["orders"]["ROUTER"] = {option: [name, "billing.Invoice", "contenttypes"]}
    setup.use()
    [message] = check_labels()
    assert message.msg.startswith(f"{option} of 'orders' names ")
    assert told in f"{message.msg} {message.hint}"
    assert message in checks.run_checks(tags=["models"])


def test_names__that_are_right_or_not_looked_at_get_no_message(setup: Setup) -> None:
    setup.databases["orders"]["ROUTER"] = {
        "APPS": ["orders", "billing.invoice"],
        "ALWAYS_PRIMARY": ["sessions", "admin.LogEntry", "django_cache", "orders.line"],
    }
    setup.use()
    assert check_labels() == []
    setup.databases["replica1"]["ROUTER"] = {"REPLICA_OF": "nowhere"}
    setup.use()
    assert check_labels() == []
