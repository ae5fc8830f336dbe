"""Where what a user wrote is remembered from one request to the next.

A store has two methods: ``save(request, response, carried)`` keeps a small mapping that JSON
can hold, beside what was saved for the same user before, as ``carry.merge`` joins them; and
``load(request)`` returns the whole, or None.
Its ``after_authentication`` says whether ``load`` needs to know the user: it is then called
right before the view, and reads of earlier middleware may miss the user's writes.
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
        """Return what was kept for the user; anything, it is not trusted."""

    def save(
        self, request: HttpRequest, response: HttpResponseBase, carried: dict[str, Any]
    ) -> None:
        """Keep what the request wrote for ``carry.seconds_left(carried)`` seconds."""


class _Timed:
    """A store that keeps things for a time.

    Args:
        wall_clock: seconds since the epoch.

    """

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        self._wall_clock = wall_clock

    def _lifetime(self, carried: dict[str, Any]) -> int:
        """Return for how many seconds something is worth keeping."""
        return math.ceil(carry.seconds_left(carried, self._wall_clock))


class CookieStore(_Timed):
    """Signed cookies: they work for anonymous users and over any number of hosts.

    One for each cluster, so that browsers keep them all, and responses that come in another
    order than they were made take nothing of another cluster back.
    """

    after_authentication = False

    def load(self, request: HttpRequest) -> dict[str, Any]:
        """Return what the cookies carry; those that we did not write are left out."""
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
        # All but the first mean that it was signed with our key and is not ours.
        return None


class CacheStore(_Timed):
    """Django's cache, by the user's id and by the Authorization header.

    For clients that keep no cookies, and for users with several devices.  The cache must be
    one that all processes share.  Requests of one user that end within the same moment, the
    time of one question to the cache, may still hide each other's writes: it cannot compare
    and set.
    """

    after_authentication = True

    def load(self, request: HttpRequest) -> dict[str, Any]:
        """Return what is kept for the user and for the header."""
        return carry.merge(*cache.get_many(self._keys(request)).values())

    def save(
        self, request: HttpRequest, response: HttpResponseBase, carried: dict[str, Any]
    ) -> None:
        """Keep it under all that this client may be known by next time."""
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
            # The header is a secret, and caches are read by many.
            digest = salted_hmac("django_poolrouter.stores", header, algorithm="sha256")
            keys.append(f"poolrouter:client:{digest.hexdigest()[:32]}")
        return keys
