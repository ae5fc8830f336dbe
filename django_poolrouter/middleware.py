"""One scope for each request, and what it wrote known to the user's next one."""

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

Response = HttpResponseBase
GetResponse = Callable[[HttpRequest], Response | Awaitable[Response]]


class RoutingMiddleware:
    """Opens a scope for each request; put it near the top of MIDDLEWARE, once.

    What a request wrote is remembered in the store, by default signed cookies, so that the
    user's next requests, in whatever process, read from a replica that has it, or from the
    primary.
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
            # Only then: under ASGI Django runs it in another thread, for each request.
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
        """Return a scope that knows what the request brought along."""
        late = self._store.after_authentication
        brought = None if late else self._store.load(request)
        return carry.unpack(brought, registry.topology.clusters)

    def _load_late(self, request: HttpRequest, *view: Any) -> None:
        """Let the request's scope know what was kept for the user."""
        with using_primary():  # a session whose user has an old password there is ended
            brought = self._store.load(request)
        carry.unpack(brought, registry.topology.clusters, current_scope())

    def _remember(self, request: HttpRequest, response: Response, entered: Scope) -> None:
        """Keep what the scope wrote; asks the primaries."""
        clusters = registry.topology.clusters.values()
        carried = carry.pack(entered, [c for c in clusters if c.primary in entered.wrote])
        if carried:
            self._store.save(request, response, carried)


def _stream_in(entered: Scope, response: Response) -> Response:
    """Have the content of a streaming response produced in the scope."""
    if response.streaming and getattr(response, "file_to_stream", None) is None:
        stream = cast("StreamingHttpResponse", response)
        produce: Any = aiterate_in if stream.is_async else iterate_in
        stream.streaming_content = produce(entered, stream.streaming_content)
    return response
