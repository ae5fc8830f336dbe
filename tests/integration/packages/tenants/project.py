"""The project's settings. One process is one project, so that django-tenants may read them."""

from __future__ import annotations

import json
import sys
from typing import Any

CUSTOMERS = "tests.integration.packages.tenants.customers"
ENGINES = {
    # How to combine the two -> ENGINE, ORIGINAL_BACKEND
    "recipe": ("tests.integration.packages.backends.tenants", "django.db.backends.postgresql"),
    "original": ("django_tenants.postgresql_backend", "django_poolrouter.backends.postgresql"),
}
APPLICATION = "tenants"
"""The name of the pools' sessions on the server."""


def order() -> dict[str, Any]:
    """Return what the test asks for."""
    found: dict[str, Any] = json.loads(sys.argv[1])
    return found


def set_up(order: dict[str, Any]) -> None:
    """Configure Django; ``own`` is a twin of the database for connections without a pool."""
    import django
    from django.conf import settings

    engine, original = ENGINES[order["way"]]
    options = {
        "pool": order["pool"] and {**order["pool"], "hold": order["hold"]},
        "application_name": APPLICATION,
    }
    databases = {
        "default": {"ENGINE": engine, **order["database"], "OPTIONS": options},
    }
    if "twin" in order:
        databases["own"] = {
            "ENGINE": "tests.integration.packages.backends.own_tenants",
            **order["twin"],
            "CONN_MAX_AGE": None,
        }
    settings.configure(
        SECRET_KEY="only-for-tests",
        DATABASES=databases,
        DATABASE_ROUTERS=["django_tenants.routers.TenantSyncRouter"],
        INSTALLED_APPS=[
            "django_tenants",
            "django.contrib.contenttypes",
            "django_poolrouter",
            CUSTOMERS,
        ],
        SHARED_APPS=["django_tenants", CUSTOMERS],
        TENANT_APPS=["django.contrib.contenttypes"],
        TENANT_MODEL="customers.Client",
        TENANT_DOMAIN_MODEL="customers.Domain",
        TENANT_LIMIT_SET_CALLS=order["limit"],
        ORIGINAL_BACKEND=original,
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        USE_TZ=True,
    )
    django.setup()


def pools_made() -> int:
    from django_poolrouter.process.registry import registry

    return len(registry.all_pools())


def leases_out() -> int:
    from django_poolrouter.process.registry import registry

    return sum(pool.status().checkedout for pool in registry.all_pools())


def beside(database: dict[str, Any]) -> Any:
    """Connect to a database beside Django, in autocommit."""
    import psycopg

    return psycopg.connect(
        host=database["HOST"],
        port=database["PORT"],
        user=database["USER"],
        password=database["PASSWORD"],
        dbname=database["NAME"],
        autocommit=True,
    )
