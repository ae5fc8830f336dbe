"""A cache for passwords that expire soon, such as tokens of AWS RDS IAM, Azure AD or Vault."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from inspect import iscoroutinefunction
from typing import Any

from .. import validation
from ..errors import in_one_line

logger = logging.getLogger("django_poolrouter.pool")

Answer = str | tuple[str, datetime | float | None]

LONGEST_MARGIN = 60.0
"""Seconds; the default margin of tokens that live for ten minutes or longer."""
LONGEST_PAUSE = 5.0
"""Seconds until the next refresh, when one failed or brought a token that expires soon too."""
END_OF_CALENDAR = 253_402_300_800.0
"""The end of the year 9999, in seconds since the epoch.  Milliseconds exceed it."""


class TokenCache:
    """A callable password: it fetches a token, and another one shortly before that expires.

    Put it into ``DATABASES[alias]["PASSWORD"]`` or ``OPTIONS["password"]``.  All threads share the
    token.  One thread at a time refreshes it.  Meanwhile the others use the old one, and wait only
    if it has expired.  When a refresh fails, the old token is used until it expires, a warning is
    logged, and the next refresh begins some seconds later.

    A copy is the same cache, so copied settings have the same pool.  A forked child starts with the
    token of its parent.  A pickled cache contains no token, and ``fetch`` must be picklable.

    Args:
        fetch: returns a token, or a pair of a token and its expiry (an aware datetime, or seconds
            since the epoch).  It needs a time limit of its own, because callers wait for it.
        lifetime: for how many seconds a token is valid if ``fetch`` returns no expiry.  None if
            ``fetch`` always returns one.
        margin: how many seconds before its expiry a token is refreshed; by default a tenth of its
            lifetime, at most 60.
        clock: returns the wall time in seconds since the epoch.  It is called with a lock held.
        steady: returns the seconds of a monotonic clock.  A token expires by this one too, in case
            the wall clock is set back.  It is called with a lock held.

    Raises:
        TypeError: ``fetch`` cannot be called, or is a coroutine function.
        ValueError: ``lifetime`` or ``margin`` is wrong.

    """

    def __init__(
        self,
        fetch: Callable[[], Answer],
        lifetime: float | None,
        *,
        margin: float | None = None,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        # The messages name types and no values: a value in the wrong place may be a password.
        if not callable(fetch):
            raise TypeError(f"TokenCache: fetch must be callable, not {type(fetch).__name__}.")
        if iscoroutinefunction(fetch):
            raise TypeError("TokenCache: fetch must not be a coroutine function.")
        self._fetch = fetch
        self._lifetime = _checked("lifetime", lifetime, above_zero=True)
        self._margin = _checked("margin", margin)
        if self._lifetime and self._margin and self._margin >= self._lifetime:
            raise ValueError("TokenCache: margin must be less than lifetime.")
        self._clock = clock
        self._steady = steady
        self._state = _State(None)

    def __call__(self) -> str:
        """Return a valid token.

        Raises:
            Exception: ``fetch`` failed, and there is no valid token.
            TypeError: ``fetch`` returned something else than a token; the same applies.
            ValueError: ``fetch`` returned an empty token or a wrong expiry; the same applies.
            RuntimeError: ``fetch`` itself needs the token.

        """
        state = self._state_here()
        mine = _Refresh()
        try:
            token = self._usable(state, mine) or self._refreshed(state, mine)
        finally:
            state.end(mine)
        return token.value

    def clear(self) -> None:
        """Forget the token, for example because the server has refused it.

        Calls that begin later return a token that was fetched later.
        """
        state = self._state_here()
        with state.changed:
            state.token = None
            if state.refresh is not None:
                state.refresh.is_outdated = True

    def _usable(self, state: _State, mine: _Refresh) -> _Token | None:
        """Return a token to use, or None when ``mine`` is now the refresh under way."""
        with state.changed:
            while True:
                token = state.token
                if token is not None and (left := self._left(token)) > 0:
                    is_later = state.refresh is not None or self._steady() < state.retry_at
                    if left > token.margin or is_later:
                        return token
                if state.refresh is None:
                    state.refresh = mine
                    return None
                state.wait_for(state.refresh)

    def _refreshed(self, state: _State, mine: _Refresh) -> _Token:
        began = self._clock(), self._steady()  # a token is at most as old as the call
        try:
            token = self._parse(self._fetch(), *began)
        except Exception as error:
            old = self._after_failure(state, mine, error)
            if old is None:
                raise
            # Some clients put what they sent into their errors.
            why = in_one_line(error).replace(old.value, "********")
            logger.warning(
                "%s failed, so its old token is used, for %.0f s at most: %s",
                self._name,
                self._left(old),
                why,
            )
            return old
        with state.changed:
            if not mine.is_outdated:
                state.token = token
                state.retry_at = self._steady() + token.pause
        return token

    def _after_failure(self, state: _State, mine: _Refresh, error: Exception) -> _Token | None:
        """Return the old token if it is valid; else give the error to the threads that wait."""
        with state.changed:
            token = state.token
            if token is not None and self._left(token) > 0:
                state.retry_at = self._steady() + token.pause
                return token
            mine.error = error
            return None

    def _parse(self, answer: Answer, wall: float, steady: float) -> _Token:
        """Return the token in an answer; the times are those before it was fetched."""
        value, expiry = _unpack(answer)
        if expiry is None and self._lifetime is None:
            raise TypeError("fetch returned no expiry. Give TokenCache the lifetime of its tokens.")
        lifetime = expiry - wall if expiry is not None else self._lifetime or 0.0
        margin = min(LONGEST_MARGIN, lifetime / 10) if self._margin is None else self._margin
        token = _Token(value, wall + lifetime, steady + lifetime, margin)
        left = self._left(token)
        if left <= 0:
            hint = "An expiry is an aware datetime, or seconds since the epoch."
            raise ValueError(f"fetch returned a token that expired {-left:.0f} s ago. {hint}")
        return token

    def _left(self, token: _Token) -> float:
        """Return for how many seconds a token is valid; the earlier end counts.

        The steady clock may stop while the computer sleeps, and the wall clock may be set.
        """
        return min(token.expiry - self._clock(), token.end - self._steady())

    def _state_here(self) -> _State:
        """Return the state of this process.

        A forked child makes its own: a thread that held the lock, or refreshed the token, does not
        exist there.  The process id is compared because uWSGI forks without Python's hooks.
        """
        if self._state.pid != os.getpid():
            self._state = _State(self._state.token)
        return self._state

    @property
    def _name(self) -> str:
        """The name of ``fetch``; not its repr, which may show arguments."""
        named = self._fetch if hasattr(self._fetch, "__qualname__") else type(self._fetch)
        return f"{named.__module__}.{named.__qualname__}"

    def __repr__(self) -> str:
        state = self._state_here()
        token = state.token
        left = self._left(token) if token is not None else 0.0
        text = f"valid for {left:.0f} s" if left > 0 else "expired" if token else "no token"
        return f"<TokenCache of {self._name}: {text}{', refreshing' if state.refresh else ''}>"

    def __copy__(self) -> TokenCache:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> TokenCache:
        return self

    def __reduce__(self) -> Any:
        make = partial(type(self), margin=self._margin, clock=self._clock, steady=self._steady)
        return make, (self._fetch, self._lifetime)


@dataclass(frozen=True, slots=True)
class _Token:
    value: str = field(repr=False)
    expiry: float
    """By the wall clock."""
    end: float
    """By the steady clock."""
    margin: float

    @property
    def pause(self) -> float:
        """Seconds between two refreshes while the token is valid."""
        return min(LONGEST_PAUSE, self.margin / 2)


class _Refresh:
    """One call of ``fetch``; the lock of the state guards it."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.error: Exception | None = None
        """For the threads that wait.  None if the refresh succeeded or was interrupted: then one of
        the threads refreshes, because an interrupt concerns one thread alone."""
        self.is_outdated = False
        """Whether the cache was cleared meanwhile."""


class _State:
    """What one process knows."""

    def __init__(self, token: _Token | None) -> None:
        self.pid = os.getpid()
        # Guards all below.  Its lock is reentrant, because a finalizer may run at any line and
        # check a connection in.  On MySQL the reset of that connection calls the cache.
        self.changed = threading.Condition()
        self.token = token
        self.retry_at = 0.0
        """When a valid token may be refreshed again, by the steady clock."""
        self.refresh: _Refresh | None = None
        """The one under way."""

    def wait_for(self, refresh: _Refresh) -> None:
        """Return when a refresh has ended, or raise its error.  The caller holds the lock."""
        if refresh.thread == threading.get_ident():
            raise RuntimeError("fetch uses a database connection that needs the token itself.")
        while self.refresh is refresh:
            self.changed.wait()
        if refresh.error is not None:
            raise refresh.error

    def end(self, refresh: _Refresh) -> None:
        """End a refresh, however it went.  If it is not under way, this does nothing."""
        with self.changed:
            if self.refresh is refresh:
                self.refresh = None
                self.changed.notify_all()


def _checked(name: str, value: float | None, *, above_zero: bool = False) -> float | None:
    check = validation.seconds(optional=True, above_zero=above_zero)
    try:
        seconds: float | None = check(value)
    except ValueError as error:
        shown = value if isinstance(value, int | float) else type(value).__name__
        raise ValueError(f"TokenCache: {name} {error}, not {shown}.") from None
    return seconds


def _unpack(answer: Any) -> tuple[str, float | None]:
    """Return a token and its expiry in seconds since the epoch, or None if it has none."""
    is_pair = isinstance(answer, tuple) and len(answer) == 2
    token, expiry = answer if is_pair else (answer, None)
    if not isinstance(token, str):
        wanted = "a str, or a pair of a str and its expiry"
        raise TypeError(f"fetch must return {wanted}, not {type(answer).__name__}.")
    if not token:
        raise ValueError("fetch returned an empty token.")
    return token, None if expiry is None else _since_epoch(expiry)


def _since_epoch(expiry: object) -> float:
    if isinstance(expiry, datetime):
        if expiry.utcoffset() is None:
            raise ValueError("fetch returned a naive datetime. An expiry needs a time zone.")
        return expiry.timestamp()
    if isinstance(expiry, bool) or not isinstance(expiry, int | float):
        wanted = "an aware datetime, or seconds since the epoch"
        raise TypeError(f"The expiry of a token must be {wanted}, not {type(expiry).__name__}.")
    if not 0 <= expiry < END_OF_CALENDAR:
        raise ValueError("fetch returned an expiry that is not in seconds since the epoch.")
    return float(expiry)
