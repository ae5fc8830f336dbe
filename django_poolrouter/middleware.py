"""Gives each request a scope, and carries what it wrote to the user's next request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.http import HttpRequest
from django.http.response import HttpResponseBase, StreamingHttpResponse

from . import conf
from .process.registry import registry
from .router import using_primary
from .routing import Scope, carry, current_scope, scope
from .routing.scopes import aiterate_in, iterate_in
from .validation import ConfigError

# The methods by which a request asks for no change (RFC 9110, 9.2.1).
SAFE_METHODS = ("GET", "HEAD", "OPTIONS", "TRACE")

Response = HttpResponseBase
GetResponse = Callable[[HttpRequest], Response | Awaitable[Response]]


class RoutingMiddleware:
    """Opens a scope for each request; put it near the top of MIDDLEWARE, once.

    The store remembers what a request wrote.  By default it uses signed cookies.  The user's next
    requests, in any process, then read from a replica that has it, or from the primary.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)
        try:
            self._store = conf.store()
        except ConfigError as error:
            raise conf.improperly(error) from None
        if self._store.after_authentication:
            # Only if it is needed: under ASGI Django runs it in a thread for each request.
            self.process_view = self._load_late

    def __call__(self, request: HttpRequest) -> Response | Awaitable[Response]:
        """Answer the request in a scope of its own."""
        if self._is_async:
            return self._acall(request)
        with scope(self._begin(request)) as entered:
            response = cast("Response", self.get_response(request))
            if entered.wrote:
                self._remember(request, response, entered)
        return _stream_in(entered, response)

    async def _acall(self, request: HttpRequest) -> Response:
        with scope(self._begin(request)) as entered:
            response = await cast("Awaitable[Response]", self.get_response(request))
            if entered.wrote:
                await sync_to_async(self._remember)(request, response, entered)
        return _stream_in(entered, response)

    def _begin(self, request: HttpRequest) -> Scope:
        """Return a scope that knows what the user wrote before, unless that is loaded late."""
        late = self._store.after_authentication
        brought = None if late else self._store.load(request)
        begun = carry.unpack(brought, registry.topology.clusters)
        begun.is_unsafe = request.method not in SAFE_METHODS
        return begun

    def _load_late(self, request: HttpRequest, *view: Any) -> None:
        """Add to the request's scope what the user wrote before."""
        # This may load the user.  Django ends the session of a user whose password differs, and
        # a replica may still have the old password.
        with using_primary():
            brought = self._store.load(request)
        carry.unpack(brought, registry.topology.clusters, current_scope())

    def _remember(self, request: HttpRequest, response: Response, entered: Scope) -> None:
        """Save what the scope wrote in the store; this asks the primaries."""
        clusters = registry.topology.clusters.values()
        carried = carry.pack(entered, [c for c in clusters if c.primary in entered.wrote])
        if carried:
            self._store.save(request, response, carried)


def _stream_in(entered: Scope, response: Response) -> Response:
    """Produce the content of a streaming response in the scope."""
    if response.streaming and getattr(response, "file_to_stream", None) is None:
        stream = cast("StreamingHttpResponse", response)
        produce: Any = aiterate_in if stream.is_async else iterate_in
        stream.streaming_content = produce(entered, stream.streaming_content)
    return response
