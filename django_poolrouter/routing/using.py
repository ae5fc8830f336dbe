"""The implementation of ``using_primary``, ``using_replica`` and ``routed``."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextvars import ContextVar
from functools import partial, wraps
from types import TracebackType
from typing import Any, Literal, ParamSpec, TypeVar, cast

from .surroundings import nothing

Wish = Literal["primary", "replica", "routed"]
P = ParamSpec("P")
T = TypeVar("T")

# The innermost block is last.  None means every cluster.
_wishes: ContextVar[tuple[tuple[str | None, Wish], ...]] = ContextVar(
    "poolrouter_wishes", default=()
)


def wish(cluster: str) -> Wish | None:
    """Return what the innermost block asks for, for reads of a cluster."""
    wishes = _wishes.get()
    if not wishes:
        return None
    for name, role in reversed(wishes):
        if name is None or name == cluster:
            return role
    return None


class Using:
    """A reusable context manager and decorator, for sync and async code.

    It has no state of its own.  So several threads may enter one object at the same time, and
    a block may contain another block of the same object.

    Args:
        role: where reads go; "routed" is for the usual rules.
        cluster: the alias of one cluster's primary, or None for all clusters.
        check: called with the alias each time a block starts; it refuses an unknown alias.

    """

    __slots__ = ("_check", "_cluster", "_role")

    def __init__(
        self, role: Wish, cluster: str | None, check: Callable[[str], object] = nothing
    ) -> None:
        self._role = role
        self._cluster = cluster
        self._check = check

    @property
    def _name(self) -> str:
        return "routed" if self._role == "routed" else f"using_{self._role}"

    def __enter__(self) -> None:
        if self._cluster is not None:
            self._check(self._cluster)
        _wishes.set((*_wishes.get(), (self._cluster, self._role)))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _wishes.set(_wishes.get()[:-1])

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(self, *error: Any) -> None:
        self.__exit__(*error)

    def __call__(self, function: Callable[P, T]) -> Callable[P, T]:
        if inspect.isclass(function):
            raise TypeError(
                f"{self._name} decorates functions, not a class such as "
                f"{function.__name__}. Decorate its methods instead."
            )
        if inspect.isgeneratorfunction(function):
            return cast("Callable[P, T]", self._cover_generator(function))
        if inspect.isasyncgenfunction(function):
            return cast("Callable[P, T]", self._cover_async_generator(function))
        # Before Python 3.12 asgiref marks coroutine functions with an attribute.
        if inspect.iscoroutinefunction(function) or hasattr(function, "_is_coroutine"):
            awaited = cast("Callable[P, Awaitable[Any]]", function)

            @wraps(function)
            async def arun(*args: P.args, **kwargs: P.kwargs) -> Any:
                with self:
                    return await awaited(*args, **kwargs)

            return cast("Callable[P, T]", arun)

        @wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> T:
            with self:
                return function(*args, **kwargs)

        return run

    # While a generator is paused, its caller runs in the same context.  If the generator stayed
    # in the block, the caller's reads would be in it too.  So each step enters and leaves it.

    def _cover_generator(
        self, function: Callable[P, Generator[Any, Any, Any]]
    ) -> Callable[P, Generator[Any, Any, Any]]:
        @wraps(function)
        def generate(*args: P.args, **kwargs: P.kwargs) -> Generator[Any, Any, Any]:
            steps = function(*args, **kwargs)
            step: Callable[[], Any] = partial(next, steps)
            try:
                while True:
                    try:
                        with self:
                            item = step()
                    except StopIteration as end:
                        return end.value
                    try:
                        step = partial(steps.send, (yield item))
                    except Exception as error:
                        step = partial(steps.throw, error)
            finally:
                with self:
                    steps.close()

        return generate

    def _cover_async_generator(
        self, function: Callable[P, AsyncGenerator[Any, Any]]
    ) -> Callable[P, AsyncGenerator[Any, Any]]:
        @wraps(function)
        async def generate(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[Any, Any]:
            steps = function(*args, **kwargs)
            step: Callable[[], Awaitable[Any]] = partial(anext, steps)
            try:
                while True:
                    try:
                        with self:
                            item = await step()
                    except StopAsyncIteration:
                        return
                    try:
                        step = partial(steps.asend, (yield item))
                    except Exception as error:
                        step = partial(steps.athrow, error)
            finally:
                with self:
                    await steps.aclose()

        return generate
