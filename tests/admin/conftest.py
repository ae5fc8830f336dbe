"""A project with pools in other processes, and the admin of it in this one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import django
import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from selenium import webdriver

from tests.support.host import Host
from tests.support.skips import require_program

POOL = {"pool_size": 2, "max_overflow": 1, "pool_timeout": 30}
CSP = {"default-src": ["'none'"]}
for source in ("script-src", "style-src", "img-src", "connect-src", "form-action"):
    CSP[source] = ["'self'"]


def policy(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """What Django 6's middleware does, for Django 5.2."""
    value = "; ".join(f"{name} {sources[0]}" for name, sources in CSP.items())

    def middleware(request: Any) -> Any:
        response = get_response(request)
        response["Content-Security-Policy"] = value
        return response

    return middleware


MIDDLEWARE = [
    "django.middleware.csp.ContentSecurityPolicyMiddleware"
    if django.VERSION >= (6,)
    else "tests.admin.conftest.policy",
    "django_poolrouter.middleware.RoutingMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]


@pytest.fixture
def more_pools() -> list[str]:
    """Aliases besides `shop` and its `replica`; a test may override it."""
    return []


@pytest.fixture
def project(tmp_path: Path, use_databases: Any, more_pools: list[str]) -> Iterator[Host]:
    """A project whose users and sessions are in a database without a pool, `default`.

    Its workers use the pool `shop`.
    """
    name = str(tmp_path / "pooled.sqlite3")
    pooled = {
        "ENGINE": "django_poolrouter.backends.sqlite3",
        "NAME": name,
        "OPTIONS": {"pool": POOL},
    }
    databases = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(tmp_path / "users.sqlite3"),
            "OPTIONS": {"timeout": 20},
        },
        "shop": {**pooled, "ROUTER": {"APPS": ["shop"]}},
        "replica": {**pooled, "ROUTER": {"REPLICA_OF": "shop"}},
        **dict.fromkeys(more_pools, pooled),
    }
    project = Host(tmp_path)
    project.environment |= {
        "DATABASES": json.dumps(databases),
        "NAMESPACE": "workers",
        "ALIAS": "shop",
    }
    use_databases(
        databases,
        POOLROUTER={"NAMESPACE": "workers", "RUNTIME_DIR": str(tmp_path / "boards")},
        MIDDLEWARE=MIDDLEWARE,
        SECURE_CSP=CSP,
        ROOT_URLCONF="tests.admin.urls",
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        DEBUG=False,
        ALLOWED_HOSTS=["*"],
    )
    call_command("migrate", run_syncdb=True, verbosity=0)
    yield project
    project.end()


@pytest.fixture
def make_user(project: Host) -> Callable[..., User]:
    """Make users of the admin with the given permissions."""

    def make(name: str, *permissions: str) -> User:
        user = User.objects.create_user(name, password="secret", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        assert user.user_permissions.count() == len(permissions)
        return user

    return make


@pytest.fixture(scope="package")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """Debian's Chromium, which `scripts/setup test` installs.

    It ends with these tests: an idle browser would take CPU time from all that follow.
    """
    chromium = require_program("chromium", "chromium")
    chromedriver = require_program("chromedriver", "chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--lang=en"):
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    service = webdriver.ChromeService(chromedriver)
    with webdriver.Chrome(options=options, service=service) as driver:
        driver.set_window_size(1280, 900)
        yield driver
