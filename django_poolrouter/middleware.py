"""One scope for each request, and pins that follow the user to the next one."""

from __future__ import annotations

import math
import zlib
from collections.abc import Awaitable, Callable
from typing import Any, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.core import signing
from django.http import HttpRequest
from django.http.response import HttpResponseBase, StreamingHttpResponse

from .registry import registry
from .routing import Scope, carry, scope
from .routing.scopes import aiterate_in, iterate_in

COOKIE = "poolrouter"
SALT = "django_poolrouter.middleware"

Response = HttpResponseBase
GetResponse = Callable[[HttpRequest], Response | Awaitable[Response]]


class RoutingMiddleware:
    """Opens a scope for each request; put it near the top of MIDDLEWARE, once.

    A request that wrote is answered with a signed cookie, so that the user's next
    requests, in whatever process, read from the primary until PIN_SECONDS are over.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Response | Awaitable[Response]:
        """Answer the request in a scope of its own."""
        if self._is_async:
            return self._acall(request)
        with scope(_begin(request)) as entered:
            response = cast("Response", self.get_response(request))
        return _finish(request, response, entered)

    async def _acall(self, request: HttpRequest) -> Response:
        with scope(_begin(request)) as entered:
            response = await cast("Awaitable[Response]", self.get_response(request))
        return _finish(request, response, entered)


def _begin(request: HttpRequest) -> Scope:
    """Return a scope that knows what the request brought along."""
    return carry.unpack(_read_cookie(request), registry.topology.clusters)


def _finish(request: HttpRequest, response: Response, entered: Scope) -> Response:
    if entered.wrote:
        _write_cookie(request, response, entered)
    if response.streaming and getattr(response, "file_to_stream", None) is None:
        stream = cast("StreamingHttpResponse", response)
        produce: Any = aiterate_in if stream.is_async else iterate_in
        stream.streaming_content = produce(entered, stream.streaming_content)
    return response


def _read_cookie(request: HttpRequest) -> object:
    """Return what the cookie carries; None where we did not write it."""
    value = request.COOKIES.get(COOKIE)
    if not value:
        return None
    try:
        return signing.loads(value, salt=SALT)
    except (signing.BadSignature, ValueError, zlib.error):
        # All but the first mean that it was signed with our key and is not ours.
        return None


def _write_cookie(request: HttpRequest, response: Response, entered: Scope) -> None:
    carried = carry.pack(entered, registry.topology.clusters.values())
    if carried:
        response.set_cookie(
            COOKIE,
            signing.dumps(carried, salt=SALT),
            max_age=math.ceil(carry.seconds_left(carried)),
            secure=request.is_secure(),
            httponly=True,
            samesite="Lax",
        )
