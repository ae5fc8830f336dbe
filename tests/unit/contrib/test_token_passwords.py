"""The cache as the password of a database: called by wrappers, one pool, shown nowhere."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import OperationalError, connection, connections

from django_poolrouter import PoolHealthMonitor
from django_poolrouter.contrib.tokens import TokenCache
from django_poolrouter.process.registry import registry

SECRET = "s3cret-of-the-vault"


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The passwords that psycopg got; no server answers."""
    passwords = []

    def connect(**parameters: Any) -> None:
        passwords.append(parameters.get("password"))
        raise psycopg.OperationalError("no server answers here")

    monkeypatch.setattr(psycopg, "connect", connect)
    return passwords


@pytest.fixture
def fetched() -> list[str]:
    return []


@pytest.fixture
def cache(fetched: list[str]) -> TokenCache:
    def fetch() -> str:
        fetched.append(SECRET)
        return SECRET

    return TokenCache(fetch, 900)


def in_password(cache: TokenCache) -> dict[str, Any]:
    return {"PASSWORD": cache}


def in_options(cache: TokenCache) -> dict[str, Any]:
    return {"OPTIONS": {"password": cache}}


Place = Callable[[TokenCache], dict[str, Any]]
in_both_places = pytest.mark.parametrize("place", [in_password, in_options])


def database(place: Place, cache: TokenCache, pool: Any = True) -> dict[str, Any]:
    settings = place(cache)
    return {
        "ENGINE": "django_poolrouter.backends.postgresql",
        "NAME": "shop",
        "HOST": "nowhere.invalid",
        **settings,
        "OPTIONS": {**settings.get("OPTIONS", {}), "pool": pool},
    }


@in_both_places
@pytest.mark.parametrize("pool", [{"pool_timeout": 0}, False], ids=["pooled", "unpooled"])
def test_wrapper__calls_the_cache_for_each_connection(
    use_databases: Any, sent: list[Any], cache: TokenCache, fetched: Any, place: Place, pool: Any
) -> None:
    use_databases({"default": database(place, cache, pool)})
    for _ in range(3):
        with pytest.raises(OperationalError, match="no server answers"):
            connection.ensure_connection()
    assert sent == [SECRET] * 3
    assert len(fetched) == 1


@in_both_places
def test_copies_of_a_wrapper__share_its_pool_and_its_cache(
    use_databases: Any, sent: list[Any], cache: TokenCache, fetched: Any, place: Place
) -> None:
    use_databases({"default": database(place, cache)})
    copied = connection.copy()
    assert copied.settings_dict is not connection.settings_dict
    assert copied.settings_dict["OPTIONS"] is not connection.settings_dict["OPTIONS"]
    assert copied.database_pool is connection.database_pool
    assert len(registry.all_pools()) == 1
    for wrapper in (connection, copied):
        with pytest.raises(OperationalError):
            wrapper.ensure_connection()
    assert len(fetched) == 1


@in_both_places
def test_two_aliases__fetch_one_token(
    use_databases: Any, sent: list[Any], cache: TokenCache, fetched: Any, place: Place
) -> None:
    entry = database(place, cache, {"pool_timeout": 0})
    use_databases({"default": entry, "replica": {**entry, "ROUTER": {"REPLICA_OF": "default"}}})
    for alias in ("default", "replica"):
        with pytest.raises(OperationalError):
            connections[alias].ensure_connection()
        assert len(registry.all_pools(alias)) == 1
    assert sent == [SECRET] * 2
    assert len(fetched) == 1


@in_both_places
def test_token__is_in_no_output(
    use_databases: Any,
    sent: list[Any],
    cache: TokenCache,
    place: Place,
    caplog: pytest.LogCaptureFixture,
) -> None:
    use_databases({"default": database(place, cache, {"pool_timeout": 0})})
    caplog.set_level(logging.DEBUG)
    out = StringIO()
    with pytest.raises(OperationalError) as caught:
        connection.ensure_connection()
    health = PoolHealthMonitor("default").check_health()
    call_command("poolstatus", "--json", stdout=out)
    call_command("poolstatus", stdout=out)
    with pytest.raises(SystemExit):
        call_command("poolcheck", stdout=out, stderr=out)
    shown = [
        out.getvalue(),
        caplog.text,
        repr(caught.value),
        repr(caught.value.__cause__),
        repr(health),
        repr(connection.database_pool),
        repr(run_checks(databases=["default"])),
        repr(connection.settings_dict),
    ]
    assert SECRET in sent
    assert "no server answers" in repr(health)
    assert not [text for text in shown if SECRET in text]


SETTINGS = """
from django_poolrouter.contrib.tokens import TokenCache

def token():
    return "s3cret"

SECRET_KEY = "only-for-tests"
INSTALLED_APPS = ["django_poolrouter"]
CACHE = TokenCache(token, lifetime=900)
DATABASES = {
    "default": {
        "ENGINE": "django_poolrouter.backends.postgresql",
        "NAME": "shop",
        "PASSWORD": CACHE,
    }
}
"""
CODE = """
import json, pickle, django
from django.db import connections
django.setup()
settings = connections.settings
loaded = pickle.loads(pickle.dumps(settings))
print(json.dumps([repr(settings["default"]["PASSWORD"]), loaded["default"]["PASSWORD"]()]))
"""


def test_settings_module__can_import_the_cache_and_be_pickled(tmp_path: Path) -> None:
    """As test runners do that start their workers with "spawn"."""
    (tmp_path / "tokensettings.py").write_text(SETTINGS)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CODE],
        env={
            "PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[3]}",
            "DJANGO_SETTINGS_MODULE": "tokensettings",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["<TokenCache of tokensettings.token: no token>", "s3cret"]
