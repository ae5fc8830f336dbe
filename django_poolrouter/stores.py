"""Stores remember what a user wrote, from one request to the next.

A store has two methods and one attribute:

- ``save(request, response, carried)`` saves a small mapping that JSON can hold.  It must not
  replace what was saved for the same user before: ``carry.merge`` joins both.
- ``load(request)`` returns all that was saved, or None.
- ``after_authentication`` says whether ``load`` needs to know the user.  If so, it is called right
  before the view, and reads of earlier middleware may miss the user's writes.
"""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import quote

from django.core import signing
from django.core.cache import cache
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.crypto import salted_hmac

from . import conf
from .routing import carry

COOKIE = "poolrouter"
SALT = "django_poolrouter.middleware"


class Store(Protocol):
    """Remembers what the next request of a user must know."""

    after_authentication: bool

    def load(self, request: HttpRequest) -> object:
        """Return what was saved for the user.  It may be any value, because it is not trusted."""

    def save(
        self, request: HttpRequest, response: HttpResponseBase, carried: dict[str, Any]
    ) -> None:
        """Save what the request wrote, for ``carry.seconds_left(carried)`` seconds."""


class _Timed:
    """A store whose contents expire.

    Args:
        wall_clock: returns the Unix time in seconds.

    """

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        self._wall_clock = wall_clock

    def _lifetime(self, carried: dict[str, Any]) -> int:
        """Return for how many whole seconds to keep a mapping."""
        return math.ceil(carry.seconds_left(carried, self._wall_clock))


class CookieStore(_Timed):
    """Signed cookies, which work for anonymous users and with any number of hosts.

    Each cluster has its own cookie, so that each stays small enough for browsers to keep.
    Responses may arrive in another order than they were made.  With one cookie for all, an older
    response could overwrite what a newer one carries for another cluster.
    """

    after_authentication = False

    def load(self, request: HttpRequest) -> dict[str, Any]:
        """Return what our cookies carry; ignore cookies that we did not write."""
        cookies = request.COOKIES.items()
        return carry.merge(*(_loads(value) for name, value in cookies if name.startswith(COOKIE)))

    def save(
        self, request: HttpRequest, response: HttpResponseBase, carried: dict[str, Any]
    ) -> None:
        """Set the cookies of the clusters that the request wrote to."""
        attributes = conf.cookie_attributes()
        attributes["secure"] = attributes["secure"] or request.is_secure()
        for primary, value in carried.items():
            one = {primary: value}
            response.set_cookie(
                f"{COOKIE}_{quote(primary, safe='')}",
                signing.dumps(one, salt=SALT),
                max_age=self._lifetime(one),
                httponly=True,
                **attributes,
            )


def _loads(value: str) -> object:
    try:
        return signing.loads(value, salt=SALT)
    except (signing.BadSignature, ValueError, zlib.error):
        # All but BadSignature mean that it was signed with our key, but is not one of ours.
        return None


class CacheStore(_Timed):
    """Django's cache, with keys for the user's id and for the Authorization header.

    Use it for clients that keep no cookies, and for users with several devices.  All processes
    must share the cache.  If two requests of one user end within one round trip to the cache, one
    may hide the writes of the other, because the cache cannot compare and set.
    """

    after_authentication = True

    def load(self, request: HttpRequest) -> dict[str, Any]:
        """Return what was saved for the user and for the header."""
        return carry.merge(*cache.get_many(self._keys(request)).values())

    def save(
        self, request: HttpRequest, response: HttpResponseBase, carried: dict[str, Any]
    ) -> None:
        """Save it under every key that the client's next request may have."""
        keys = self._keys(request)
        merged = carry.merge(carried, *cache.get_many(keys).values())
        cache.set_many(dict.fromkeys(keys, merged), self._lifetime(merged))

    def _keys(self, request: HttpRequest) -> list[str]:
        keys = []
        user = getattr(request, "user", None)
        if user is not None and user.is_authenticated:
            keys.append(f"poolrouter:user:{user.pk}")
        header = request.headers.get("Authorization")
        if header:
            # The header is a secret, and many programs may read the cache.
            digest = salted_hmac("django_poolrouter.stores", header, algorithm="sha256")
            keys.append(f"poolrouter:client:{digest.hexdigest()[:32]}")
        return keys
