"""One scope for each request, and pins that follow the user to the next.

The replicas are files of their own in which the same row has another name, so that each
answer shows where it was read.
"""

from __future__ import annotations

import asyncio
import json
import math
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync, iscoroutinefunction
from asgiref.testing import ApplicationCommunicator
from django.core import signing
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.db import transaction
from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
from django.test import AsyncClient, Client, RequestFactory
from django.urls import path

from django_poolrouter import scope, using_primary
from django_poolrouter.middleware import RoutingMiddleware
from django_poolrouter.routing import current_scope
from django_poolrouter.stores import COOKIE, SALT
from tests.support.databases import ENGINES, ROUTERS, configured
from tests.support.testapp.orders.models import Order
from tests.support.testapp.shop.models import Author

OF_DEFAULT = f"{COOKIE}_default"
MIDDLEWARE = ["django_poolrouter.middleware.RoutingMiddleware"]
REPLICAS = {"replica1", "replica2"}
ENTRIES: dict[str, dict[str, Any]] = {
    "default": {},
    "replica1": {"REPLICA_OF": "default"},
    "replica2": {"REPLICA_OF": "default"},
    "orders": {"APPS": ["orders"]},
    "orders1": {"REPLICA_OF": "orders"},
}

# -- the site ---------------------------------------------------------------------------


def where() -> str:
    """Return the alias that a read of the moment goes to, as the row there says."""
    return Author.objects.get(pk=1).name


async def awhere() -> str:
    return (await Author.objects.aget(pk=1)).name


def orders_where() -> str:
    return {1: "orders", 2: "orders1"}[Order.objects.get(pk=1).number]


def write() -> None:
    Author.objects.create(name="new")


def told(**more: Any) -> JsonResponse:
    return JsonResponse({"scope": id(current_scope()), **more})


def read_view(request: Any) -> HttpResponse:
    return told(where=[where() for _ in range(3)], orders=orders_where())


async def aread_view(request: Any) -> HttpResponse:
    return told(where=[await awhere() for _ in range(3)])


def write_view(request: Any) -> HttpResponse:
    write()
    return told(where=[where() for _ in range(3)], orders=orders_where())


async def awrite_view(request: Any) -> HttpResponse:
    await Author.objects.acreate(name="new")
    return told(where=[await awhere() for _ in range(3)])


@transaction.atomic
def atomic_view(request: Any) -> HttpResponse:
    write()
    return told()


def order_view(request: Any) -> HttpResponse:
    Order.objects.create(number=9)
    return told(where=[where()], orders=orders_where())


def failing_view(request: Any) -> HttpResponse:
    if "write" in request.GET:
        write()
    raise ZeroDivisionError


def pin_view(request: Any) -> HttpResponse:
    return told(left=current_scope().pinned_for("default", 5))


def stream_view(request: Any) -> HttpResponse:
    if "write" in request.GET:
        write()
    where()

    def produce() -> Iterator[str]:
        for _ in range(3):
            yield f"{id(current_scope())} {where()}\n"

    return StreamingHttpResponse(produce())


async def astream_view(request: Any) -> HttpResponse:
    if "write" in request.GET:
        await Author.objects.acreate(name="new")
    await awhere()

    async def produce() -> AsyncIterator[str]:
        for _ in range(3):
            yield f"{id(current_scope())} {await awhere()}\n"

    return StreamingHttpResponse(produce())


def file_view(request: Any) -> HttpResponse:
    return FileResponse(Path(__file__).open("rb"))


urlpatterns = [
    path("read", read_view),
    path("aread", aread_view),
    path("write", write_view),
    path("awrite", awrite_view),
    path("atomic", atomic_view),
    path("order", order_view),
    path("fail", failing_view),
    path("pin", pin_view),
    path("stream", stream_view),
    path("astream", astream_view),
    path("file", file_view),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, django_db_blocker: Any) -> Path:
    """A database for each alias, that differ in one row."""
    folder = tmp_path_factory.mktemp("files")
    databases = {
        "default": {"ENGINE": ENGINES["sqlite"], "NAME": folder / "default"},
        "orders": {"ENGINE": ENGINES["sqlite"], "NAME": folder / "orders"},
    }
    with django_db_blocker.unblock(), configured(databases, DATABASE_ROUTERS=[]):
        for alias in databases:
            call_command("migrate", database=alias, run_syncdb=True, verbosity=0)
        author = Author.objects.create(pk=1, name="default")
        order = Order.objects.using("orders").create(pk=1, number=1)
    for copy in ("replica1", "replica2", "orders1"):
        shutil.copy(folder / ("orders" if copy == "orders1" else "default"), folder / copy)
        databases[copy] = {"ENGINE": ENGINES["sqlite"], "NAME": folder / copy}
    with django_db_blocker.unblock(), configured(databases, DATABASE_ROUTERS=[]):
        for replica in ("replica1", "replica2"):
            author.name = replica
            author.save(using=replica)
        order.number = 2
        order.save(using="orders1")
    return folder


@pytest.fixture
def use(files: Path, tmp_path: Path, use_databases: Any) -> Iterator[Callable[..., None]]:
    """Start with copies of the files, with more options for all clusters."""
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)

    def start(**routing: Any) -> None:
        use_databases(
            {
                alias: {"ENGINE": ENGINES["sqlite"], "NAME": tmp_path / alias, "ROUTER": entry}
                for alias, entry in ENTRIES.items()
            },
            DATABASE_ROUTERS=ROUTERS,
            MIDDLEWARE=MIDDLEWARE,
            ROOT_URLCONF=__name__,
            ALLOWED_HOSTS=["testserver"],
            POOLROUTER={"ROUTING": routing},
        )

    with scope() as outer:
        yield start
        assert current_scope() is outer
        assert outer.wrote == set()


@pytest.fixture
def site(use: Callable[..., None]) -> None:
    use()


class Browser:
    """A client that keeps cookies, of either kind, called the same way."""

    def __init__(self, asynchronous: bool = False) -> None:
        self.client: Any = (AsyncClient if asynchronous else Client)(raise_request_exception=False)
        self.asynchronous = asynchronous

    def get(self, url: str, **extra: Any) -> Any:
        return self._call(self.client.get, url, **extra)

    def post(self, url: str, **extra: Any) -> Any:
        return self._call(self.client.post, url, **extra)

    def _call(self, method: Any, url: str, **extra: Any) -> Any:
        return (async_to_sync(method) if self.asynchronous else method)(url, **extra)


@pytest.fixture
def browser(site: None) -> Browser:
    return Browser()


@pytest.fixture(params=["sync", "async"])
def any_browser(request: pytest.FixtureRequest, site: None) -> Browser:
    return Browser(request.param == "async")


def cookie(**pins: Any) -> str:
    return signing.dumps(pins, salt=SALT)


def with_cookie(value: str) -> Browser:
    browser = Browser()
    browser.client.cookies[COOKIE] = value
    return browser


# -- one replica per request ------------------------------------------------------------


@pytest.mark.parametrize("url", ["/read", "/aread"])
def test_request__reads_from_one_replica_and_requests_take_turns(
    any_browser: Browser, url: str
) -> None:
    answers = [any_browser.get(url).json() for _ in range(4)]
    assert all(len(set(answer["where"])) == 1 for answer in answers)
    replicas = [answer["where"][0] for answer in answers]
    assert replicas == ["replica1", "replica2"] * 2
    assert "set-cookie" not in any_browser.get(url).headers


def test_request__without_the_middleware_is_in_no_scope_of_its_own(use: Any, settings: Any) -> None:
    use()
    settings.MIDDLEWARE = []
    answers = [Browser().get("/read").json() for _ in range(2)]
    assert {answer["scope"] for answer in answers} == {id(current_scope())}


def test_scope__never_leaks_to_the_next_request(any_browser: Browser) -> None:
    outer = current_scope()
    first = any_browser.get("/write").json()
    assert current_scope() is outer
    assert first["scope"] != id(outer)
    stranger = Browser(any_browser.asynchronous).get("/read").json()
    assert set(stranger["where"]) < REPLICAS


def test_using_primary__around_a_request_is_heard_in_it(browser: Browser) -> None:
    with using_primary("default"):
        assert browser.get("/read").json()["where"] == ["default"] * 3


# -- pins -------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["/write", "/awrite"])
def test_write__sends_reads_to_the_primary_in_this_and_the_next_request(
    any_browser: Browser, url: str
) -> None:
    assert any_browser.get(url).json()["where"] == ["default"] * 3
    for read in ("/read", "/aread"):
        assert any_browser.get(read).json()["where"] == ["default"] * 3
    assert any_browser.get("/read").json()["orders"] == "orders1"


def test_write__in_another_cluster_pins_that_one(any_browser: Browser) -> None:
    answer = any_browser.post("/order").json()
    assert (answer["where"][0], answer["orders"]) == ("default", "orders")
    answer = any_browser.get("/read").json()
    assert set(answer["where"]) < REPLICAS
    assert answer["orders"] == "orders"


def test_writes__of_requests_that_overlap_pin_both_clusters(any_browser: Browser) -> None:
    other = Browser()
    other.get("/order")
    any_browser.get("/write")
    any_browser.client.cookies.update(other.client.cookies)
    answer = any_browser.get("/read").json()
    assert (answer["where"], answer["orders"]) == (["default"] * 3, "orders")


def test_write__sets_no_cookie_anew_of_another_cluster(any_browser: Browser) -> None:
    """It would take back what a request that overlaps has set."""
    any_browser.get("/order")
    assert list(any_browser.get("/write").cookies) == [OF_DEFAULT]


def test_writes__in_two_requests_pin_both_clusters(any_browser: Browser) -> None:
    any_browser.get("/order")
    any_browser.get("/write")
    answer = any_browser.get("/read").json()
    assert (answer["where"], answer["orders"]) == (["default"] * 3, "orders")


@pytest.mark.parametrize("url", ["/write", "/awrite", "/atomic"])
@pytest.mark.parametrize("secure", [False, True])
def test_write__sets_a_signed_cookie(any_browser: Browser, url: str, secure: bool) -> None:
    before = time.time()
    morsel = any_browser.get(url, secure=secure).cookies[OF_DEFAULT]
    assert morsel["httponly"]
    assert morsel["samesite"] == "Lax"
    assert bool(morsel["secure"]) is secure
    assert morsel["max-age"] == 5
    assert morsel["path"] == "/"
    pins = signing.loads(morsel.value, salt=SALT)
    assert list(pins) == ["default"]
    # A pin counts by the monotonic clock, the cookie by the wall clock: a second more and less.
    assert before + 4 < pins["default"] < time.time() + 6


def test_cookie__goes_where_the_cookie_of_the_session_goes(site: None, settings: Any) -> None:
    """Who is logged in on several subdomains, or in a frame, is the same user everywhere."""
    settings.SESSION_COOKIE_DOMAIN = ".example.com"
    settings.SESSION_COOKIE_PATH = "/shop"
    settings.SESSION_COOKIE_SAMESITE = "None"
    settings.SESSION_COOKIE_SECURE = True
    morsel = Browser().get("/write").cookies[OF_DEFAULT]
    assert (morsel["domain"], morsel["path"]) == (".example.com", "/shop")
    assert (morsel["samesite"], morsel["secure"]) == ("None", True)


@pytest.mark.parametrize(("seconds", "max_age"), [(5, 5), (0.3, 1), (1.5, 2), (60, 60)])
@pytest.mark.parametrize("url", ["/write", "/atomic"])
def test_max_age__is_pin_seconds_rounded_up(
    use: Any, url: str, seconds: float, max_age: int
) -> None:
    use(PIN_SECONDS=seconds)
    assert {Browser().get(url).cookies[OF_DEFAULT]["max-age"] for _ in range(20)} == {max_age}


@pytest.mark.parametrize("url", ["/read", "/aread", "/pin", "/stream", "/file"])
@pytest.mark.parametrize("method", ["get", "post"])
def test_request_that_only_reads__sets_no_cookie(
    any_browser: Browser, method: str, url: str
) -> None:
    response = getattr(any_browser, method)(url)
    assert response.status_code == 200
    assert not response.cookies
    response.close()


def test_pinned_request_that_only_reads__does_not_prolong_the_pin(browser: Browser) -> None:
    browser.get("/write")
    assert not browser.get("/read").cookies


@pytest.mark.parametrize("routing", [{"READ_YOUR_WRITES": "off"}, {"PIN_SECONDS": 0}])
def test_write__sets_no_cookie_where_nothing_pins(use: Any, routing: dict[str, Any]) -> None:
    use(**routing)
    browser = Browser()
    response = browser.get("/write")
    assert not response.cookies
    assert set(response.json()["where"]) < REPLICAS


def test_pin__ends(use: Any) -> None:
    use(PIN_SECONDS=0.3)
    browser = Browser()
    began = time.monotonic()
    browser.get("/write")
    while browser.get("/read").json()["where"][0] == "default":
        assert time.monotonic() - began < 10
        time.sleep(0.01)
    assert time.monotonic() - began >= 0.3


# -- cookies that are not as we made them -----------------------------------------------


def reads_from_replicas(browser: Browser) -> bool:
    response = browser.get("/read")
    assert response.status_code == 200
    return {*response.json()["where"], response.json()["orders"]} <= {*REPLICAS, "orders1"}


def test_cookie__that_is_good_pins(site: None) -> None:
    assert not reads_from_replicas(with_cookie(cookie(default=time.time() + 4)))


@pytest.mark.parametrize(
    "value",
    ["", "x", "x:y", "x:y:z", ":::", "é", "\x00", '"', "a" * 5000, "eyJhIjoxfQ:1:2", "{}"],
)
def test_cookie__of_garbage_is_ignored(site: None, value: str) -> None:
    assert reads_from_replicas(with_cookie(value))


@pytest.mark.parametrize("part", [0, 1, 2])
def test_cookie__that_was_tampered_with_is_ignored(site: None, part: int) -> None:
    parts = cookie(default=time.time() + 4).split(":")
    parts[part] = parts[part][:-2] + ("aa" if parts[part][-2:] != "aa" else "bb")
    assert reads_from_replicas(with_cookie(":".join(parts)))


def test_cookie__signed_for_another_purpose_or_with_another_key_is_ignored(site: None) -> None:
    pins = {"default": time.time() + 4}
    assert reads_from_replicas(with_cookie(signing.dumps(pins, salt="other")))
    assert reads_from_replicas(with_cookie(signing.dumps(pins, key="other", salt=SALT)))


def test_cookie__that_expired_is_ignored(site: None) -> None:
    assert reads_from_replicas(with_cookie(cookie(default=time.time() - 0.1)))


def test_cookie__of_unknown_clusters_is_ignored(site: None) -> None:
    until = time.time() + 4
    pins = {"nowhere": until, "replica1": until, "": until}
    assert reads_from_replicas(with_cookie(cookie(**pins)))


@pytest.mark.parametrize(
    "content",
    [
        *(None, True, 5, "default", [], ["default"], [["default", 1]], {}),
        *({"default": value} for value in (None, "soon", [], {}, "9999999999", True)),
        *({"default": value} for value in (math.nan, -math.inf, -1, 10**400)),
    ],
    ids=lambda content: repr(content)[:20],
)
def test_cookie__of_other_content_is_ignored_though_we_signed_it(site: None, content: Any) -> None:
    assert reads_from_replicas(with_cookie(signing.dumps(content, salt=SALT)))


@pytest.mark.parametrize("payload", ["", "garbage", "!", ".garbage", "e30", "_w", "eA"])
def test_cookie__of_no_content_is_ignored_though_we_signed_it(site: None, payload: str) -> None:
    assert reads_from_replicas(with_cookie(signing.TimestampSigner(salt=SALT).sign(payload)))
    assert reads_from_replicas(with_cookie(signing.Signer(salt=SALT).sign(payload)))


@pytest.mark.parametrize("until", [9e12, math.inf])
def test_cookie__never_pins_for_longer_than_pin_seconds(site: None, until: float) -> None:
    response = with_cookie(cookie(default=until)).get("/pin")
    assert response.status_code == 200
    assert 0 < response.json()["left"] <= 5


def test_cookie__of_a_cluster_that_pins_no_more_is_ignored(use: Any) -> None:
    use(READ_YOUR_WRITES="off")
    assert reads_from_replicas(with_cookie(cookie(default=time.time() + 4)))


# -- streams ----------------------------------------------------------------------------


def lines(response: Any) -> list[list[str]]:
    if response.is_async:

        async def collect() -> bytes:
            return b"".join([chunk async for chunk in response.streaming_content])

        content = async_to_sync(collect)()
    else:
        content = b"".join(response.streaming_content)
    return [line.split() for line in content.decode().splitlines()]


@pytest.mark.parametrize(
    ("url", "asynchronous"), [("/stream", False), ("/astream", True)], ids=["sync", "async"]
)
def test_stream__is_read_in_the_scope_of_its_request(
    site: None, url: str, asynchronous: bool
) -> None:
    browser, outer = Browser(asynchronous), current_scope()
    streams = [lines(browser.get(url)) for _ in range(2)]
    assert current_scope() is outer
    assert [{alias for _, alias in stream} for stream in streams] == [{"replica1"}, {"replica2"}]
    scopes = [{scope for scope, _ in stream} for stream in streams]
    assert all(len(each) == 1 for each in scopes)
    assert {str(id(outer))} not in scopes


@pytest.mark.parametrize(
    ("url", "asynchronous"), [("/stream", False), ("/astream", True)], ids=["sync", "async"]
)
def test_stream__after_a_write_is_read_from_the_primary(
    site: None, url: str, asynchronous: bool
) -> None:
    response = Browser(asynchronous).get(f"{url}?write")
    assert OF_DEFAULT in response.cookies
    assert [alias for _, alias in lines(response)] == ["default"] * 3


def test_streams__produced_by_turns_do_not_mix(site: None) -> None:
    browser, outer = Browser(), current_scope()
    one, other = (iter(browser.get("/stream").streaming_content) for _ in range(2))
    seen = [next(each).split()[1] for each in (one, other) * 3]
    assert seen == [b"replica1", b"replica2"] * 3
    assert current_scope() is outer


def test_stream__that_is_given_up_leaves_no_scope(site: None) -> None:
    outer = current_scope()
    response = Browser().get("/stream")
    next(iter(response.streaming_content))
    response.close()
    assert current_scope() is outer


def test_file_response__is_left_as_it_is(any_browser: Browser) -> None:
    made = []

    def view(request: Any) -> FileResponse:
        made.append(FileResponse(BytesIO(b"content")))
        made.append(made[0]._iterator)
        return made[0]

    response = RoutingMiddleware(view)(RequestFactory().get("/"))
    assert response is made[0]
    assert response._iterator is made[1]
    assert response.file_to_stream is not None
    response.close()
    served = any_browser.get("/file")
    served.close()
    assert served.status_code == 200


# -- errors -----------------------------------------------------------------------------


def test_exception_in_the_view__closes_the_scope(any_browser: Browser) -> None:
    outer = current_scope()
    response = any_browser.get("/fail")
    assert response.status_code == 500
    assert not response.cookies
    assert current_scope() is outer


def test_exception_after_a_write__still_pins(any_browser: Browser) -> None:
    assert OF_DEFAULT in any_browser.get("/fail?write").cookies
    assert any_browser.get("/read").json()["where"] == ["default"] * 3


def test_exception_from_below__goes_through_and_closes_the_scope(site: None) -> None:
    async def afailing_view(request: Any) -> HttpResponse:
        return failing_view(request)

    outer, request = current_scope(), RequestFactory().get("/")
    with pytest.raises(ZeroDivisionError):
        RoutingMiddleware(failing_view)(request)
    assert current_scope() is outer
    with pytest.raises(ZeroDivisionError):
        async_to_sync(RoutingMiddleware(afailing_view))(request)  # type: ignore[arg-type]
    assert current_scope() is outer


# -- in any server ----------------------------------------------------------------------


def test_middleware__is_what_it_is_put_around() -> None:
    assert RoutingMiddleware.sync_capable
    assert RoutingMiddleware.async_capable
    assert iscoroutinefunction(RoutingMiddleware(aread_view))
    assert not iscoroutinefunction(RoutingMiddleware(read_view))


def test_middleware__needs_no_topology_to_be_made(use_databases: Any) -> None:
    use_databases({}, DATABASE_ROUTERS=[])
    assert RoutingMiddleware(file_view)


def test_wsgi__serves_with_scope_and_cookie(site: None) -> None:
    started: list[Any] = []
    environ = RequestFactory().get("/write").environ
    response = WSGIHandler()(environ, lambda *args: started.append(args))
    body = json.loads(b"".join(response))
    response.close()
    assert body["where"] == ["default"] * 3
    [(status, headers)] = started
    assert status == "200 OK"
    [sent] = [value.strip() for name, value in headers if name == "Set-Cookie"]
    assert sent.startswith(f"{OF_DEFAULT}=")

    environ = RequestFactory().get("/read").environ
    environ["HTTP_COOKIE"] = sent.partition(";")[0]
    response = WSGIHandler()(environ, lambda *args: None)
    assert json.loads(b"".join(response))["where"] == ["default"] * 3
    response.close()


@pytest.mark.parametrize(
    ("write_url", "read_url"), [("/write", "/read"), ("/awrite", "/aread")], ids=["sync", "async"]
)
def test_asgi__serves_requests_at_once_with_scopes_apart(
    site: None, write_url: str, read_url: str
) -> None:
    async def serve(url: str, *headers: tuple[bytes, bytes]) -> tuple[dict[str, str], Any]:
        scope = {"type": "http", "method": "GET", "path": url, "query_string": b""}
        headers = ((b"host", b"testserver"), *headers)
        call = ApplicationCommunicator(handler, {**scope, "headers": headers})
        await call.send_input({"type": "http.request", "body": b""})
        start, body = await call.receive_output(10), await call.receive_output(10)
        await call.wait()
        assert start["status"] == 200
        return {k.decode().lower(): v.decode() for k, v in start["headers"]}, json.loads(
            body["body"]
        )

    async def main() -> None:
        urls = [write_url, read_url, read_url, write_url]
        answers = await asyncio.gather(*map(serve, urls))
        places = [set(body["where"]) for _, body in answers]
        assert places[0] == places[3] == {"default"}
        assert {*places[1], *places[2]} == REPLICAS
        assert ["set-cookie" in headers for headers, _ in answers] == [True, False, False, True]
        sent = answers[0][0]["set-cookie"].partition(";")[0]
        _, body = await serve(read_url, (b"cookie", sent.encode()))
        assert body["where"] == ["default"] * 3

    handler = ASGIHandler()
    async_to_sync(main)()
