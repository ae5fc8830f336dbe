"""Where what a user wrote is remembered from one request to the next.

A store has two methods: ``load(request)`` returns what ``save`` was given for the same user
last, or None; ``save(request, response, carried)`` keeps a small mapping that JSON can hold.
Its ``after_authentication`` says whether ``load`` needs to know the user: it is then called
right before the view, and reads of earlier middleware may miss the user's writes.
"""

from __future__ import annotations

import math
import zlib
from typing import Any, Protocol

from django.core import signing
from django.core.cache import cache
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.crypto import salted_hmac

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
        """Keep it for ``carry.seconds_left(carried)`` seconds."""


class CookieStore:
    """A signed cookie: works for anonymous users and over any number of hosts."""

    after_authentication = False

    def load(self, request: HttpRequest) -> object:
        """Return what the cookie carries; None where we did not write it."""
        value = request.COOKIES.get(COOKIE)
        if not value:
            return None
        try:
            return signing.loads(value, salt=SALT)
        except (signing.BadSignature, ValueError, zlib.error):
            # All but the first mean that it was signed with our key and is not ours.
            return None

    def save(
        self, request: HttpRequest, response: HttpResponseBase, carried: dict[str, Any]
    ) -> None:
        """Set the cookie."""
        response.set_cookie(
            COOKIE,
            signing.dumps(carried, salt=SALT),
            max_age=math.ceil(carry.seconds_left(carried)),
            secure=request.is_secure(),
            httponly=True,
            samesite="Lax",
        )


class CacheStore:
    """Django's cache, by the user's id and by the Authorization header.

    For clients that keep no cookies, and for users with several devices.  The cache must be
    one that all processes share.
    """

    after_authentication = True

    def load(self, request: HttpRequest) -> object:
        """Return what is kept for the user, or else for the header."""
        found = cache.get_many(self._keys(request))
        return next((found[key] for key in self._keys(request) if key in found), None)

    def save(
        self, request: HttpRequest, response: HttpResponseBase, carried: dict[str, Any]
    ) -> None:
        """Keep it under all that this client may be known by next time."""
        seconds = math.ceil(carry.seconds_left(carried))
        cache.set_many(dict.fromkeys(self._keys(request), carried), seconds)

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
