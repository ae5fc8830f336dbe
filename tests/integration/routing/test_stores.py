"""What a user wrote, remembered from request to request in a cookie or the cache."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.models import User
from django.core import signing
from django.core.cache import cache
from django.core.management import call_command
from django.db import connections
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test import AsyncClient, Client
from django.urls import path

from django_poolrouter import scope
from django_poolrouter.routing import Position, current_scope
from django_poolrouter.stores import COOKIE, SALT, CacheStore
from tests.support.databases import ENGINES, configured
from tests.support.testapp.shop.models import Author

OF_DEFAULT = f"{COOKIE}_default"
MIDDLEWARE = [
    "django_poolrouter.middleware.RoutingMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]


def write(request: HttpRequest) -> HttpResponse:
    Author.objects.create(name="new")
    return JsonResponse({})


async def awrite(request: HttpRequest) -> HttpResponse:
    await Author.objects.acreate(name="new")
    return JsonResponse({})


def heeded(request: HttpRequest) -> HttpResponse:
    """Say what the request's scope heeds: a pin, a position, or nothing."""
    positions = {p: str(position) for p, (position, _) in current_scope().positions.items()}
    return JsonResponse({"pinned": current_scope().pinned_for("default", 5), **positions})


def change_password(request: HttpRequest) -> HttpResponse:
    user = cast("User", request.user)
    user.set_password("new")
    user.save()
    update_session_auth_hash(request, user)
    return JsonResponse({})


def who(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"user": request.user.get_username()})


urlpatterns = [
    path("write", write),
    path("awrite", awrite),
    path("heeded", heeded),
    path("password", change_password),
    path("who", who),
]


@pytest.fixture
def use(
    tmp_path: Path, use_databases: Any, settings: Any, django_db_blocker: Any
) -> Callable[..., None]:
    """Use SQLite, whose writes pin, with a store."""
    settings.MIDDLEWARE = MIDDLEWARE
    settings.ROOT_URLCONF = __name__
    database = {"ENGINE": ENGINES["sqlite"], "NAME": str(tmp_path / "db")}
    databases = {"default": database, "copy": {**database, "ROUTER": {"REPLICA_OF": "default"}}}
    with django_db_blocker.unblock(), configured(databases), scope():
        call_command("migrate", run_syncdb=True, verbosity=0)
        User.objects.create_user("ada")
        User.objects.create_user("bob")
        connections.close_all()
    cache.clear()
    return lambda **routing: use_databases(databases, POOLROUTER={"ROUTING": routing})


def client(name: str | None = None, header: str | None = None) -> Client:
    made = Client(headers={"Authorization": header} if header else None)
    if name:
        made.force_login(User.objects.using("default").get(username=name))
    return made


def is_pinned(browser: Any) -> bool:
    return browser.get("/heeded").json()["pinned"] > 0


def test_cookie__signed_with_a_key_of_before_is_good_while_that_is_a_fallback(
    use: Any, settings: Any
) -> None:
    use()
    browser = client()
    browser.get("/write")
    before, settings.SECRET_KEY = settings.SECRET_KEY, "another"
    assert not is_pinned(browser)
    settings.SECRET_KEY_FALLBACKS = [before]
    assert is_pinned(browser)


def test_cache__remembers_a_user_on_all_devices(use: Any) -> None:
    use(STORE="cache")
    phone, laptop, bob = client("ada"), client("ada"), client("bob")
    assert OF_DEFAULT not in phone.get("/write").cookies
    assert [is_pinned(browser) for browser in (phone, laptop, bob, client())] == [
        *(True, True, False, False)
    ]


def test_cache__remembers_an_api_client_by_its_header(use: Any) -> None:
    use(STORE="cache")
    client(header="Bearer one").get("/write")
    assert is_pinned(client(header="Bearer one"))
    assert not is_pinned(client(header="Bearer two"))
    assert not is_pinned(client())
    assert not any("Bearer" in key for key in cache._cache)


def test_cache__forgets_those_it_cannot_know(use: Any) -> None:
    use(STORE="cache")
    browser = client()
    browser.get("/write")
    assert not is_pinned(browser)


def test_cache__serves_asynchronous_sites(use: Any) -> None:
    use(STORE="cache")

    async def main() -> float:
        headers = {"Authorization": "Bearer one"}
        await AsyncClient().get("/awrite", headers=headers)
        return (await AsyncClient().get("/heeded", headers=headers)).json()["pinned"]

    assert async_to_sync(main)() > 0


def test_cache__of_other_content_is_ignored(use: Any) -> None:
    use(STORE="cache")
    browser = client("ada")
    browser.get("/write")
    [key] = [key for key in cache._cache if "poolrouter" in key]
    for content in ("nonsense", {"default": "soon"}, {"gone": 9e9}, [1]):
        cache.set(key.split(":", 2)[2], content)
        assert not is_pinned(browser)


def test_cache__keeps_what_requests_that_overlap_have_saved(use: Any, rf: Any) -> None:
    use(STORE="cache")
    request = rf.get("/", headers={"Authorization": "Bearer one"})
    now = time.time()
    store = CacheStore()
    for carried in (
        {"default": [now, "a/lsn=200"]},
        {"orders": now + 5},
        {"default": [now - 0.1, "a/lsn=100"]},  # made earlier, and saved later
    ):
        store.save(request, HttpResponse(), carried)
    assert store.load(request) == {"default": [now, "a/lsn=200"], "orders": now + 5}


def test_cache__knows_a_user_also_by_what_was_kept_for_the_header(use: Any, rf: Any) -> None:
    use(STORE="cache")
    now, store = time.time(), CacheStore()
    request = rf.get("/", headers={"Authorization": "Bearer one"})
    store.save(request, HttpResponse(), {"default": [now, "a/lsn=200"]})
    request.user = User.objects.using("default").get(username="ada")
    elsewhere = rf.get("/")
    elsewhere.user = request.user
    store.save(elsewhere, HttpResponse(), {"default": [now - 1, "a/lsn=100"]})
    assert store.load(request) == {"default": [now, "a/lsn=200"]}


@pytest.mark.parametrize("store", ["cookie", "cache"])
def test_user__stays_logged_in_after_a_change_of_password(
    use: Any, use_databases: Any, tmp_path: Path, store: str
) -> None:
    """Whose old password a replica shows has a session that does not fit, and loses it."""
    shutil.copy(tmp_path / "db", tmp_path / "copy")
    entries: dict[str, Any] = {"default": {"PIN_SECONDS": 60}, "copy": {"REPLICA_OF": "default"}}
    names = {"default": tmp_path / "db", "copy": tmp_path / "copy"}
    databases = {
        alias: {"ENGINE": ENGINES["sqlite"], "NAME": names[alias], "ROUTER": entry}
        for alias, entry in entries.items()
    }
    use_databases(databases, POOLROUTER={"ROUTING": {"STORE": store}})
    browser = client("ada")
    browser.get("/password")
    assert [browser.get("/who").json()["user"] for _ in range(2)] == ["ada"] * 2


def test_cookie__carries_a_position_and_not_what_is_no_position(use: Any) -> None:
    use()
    browser = client()
    position = str(Position("1.1", {"lsn": 5}))
    for content in ([time.time(), position], [0.0, position], "x"):
        browser.cookies[COOKIE] = signing.dumps({"default": content}, salt=SALT)
        answer = browser.get("/heeded").json()
        # SQLite has no positions: one that comes along is a pin.
        assert (answer["pinned"] > 0) is (content[0] != 0.0 and content != "x")


class Shelf:
    """A project's own store."""

    after_authentication = False
    kept: dict[str, Any] | None = None

    def load(self, request: HttpRequest) -> object:
        return Shelf.kept

    def save(self, request: HttpRequest, response: Any, carried: dict[str, Any]) -> None:
        Shelf.kept = carried


def test_own_store__is_used_by_its_dotted_path(use: Any) -> None:
    use(STORE=f"{__name__}.Shelf")
    Shelf.kept = None
    client().get("/write")
    assert Shelf.kept is not None
    assert is_pinned(client())
