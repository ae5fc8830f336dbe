"""The blocks by which users overrule the router."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import markcoroutinefunction, sync_to_async

from django_poolrouter.routing import Using
from django_poolrouter.routing.using import wish


@pytest.fixture(autouse=True)
def _no_wish_is_left() -> Iterator[None]:
    yield
    assert wish("default") is None


def test_nothing__is_wished_at_first() -> None:
    assert wish("default") is None


def test_block__wishes_for_every_cluster_until_its_end() -> None:
    with Using("primary", None):
        assert wish("default") == wish("orders") == "primary"
    assert wish("default") is None


def test_block__for_one_cluster_leaves_the_others_alone() -> None:
    with Using("primary", "orders"):
        assert wish("orders") == "primary"
        assert wish("default") is None


def test_innermost_block__wins() -> None:
    with Using("primary", None):
        with Using("replica", "orders"):
            assert (wish("default"), wish("orders")) == ("primary", "replica")
            with Using("primary", "orders"):
                assert wish("orders") == "primary"
            with Using("replica", None):
                assert (wish("default"), wish("orders")) == ("replica", "replica")
            assert wish("orders") == "replica"
        assert wish("orders") == "primary"


def test_block__ends_with_an_exception_that_goes_on() -> None:
    with pytest.raises(ZeroDivisionError), Using("primary", None):
        raise ZeroDivisionError
    assert wish("default") is None


def test_one_object__can_be_entered_again_and_within_itself() -> None:
    using = Using("primary", "default")
    for _ in range(2):
        with using:
            with using:
                assert wish("default") == "primary"
            assert wish("default") == "primary"
        assert wish("default") is None


def test_one_object__can_be_entered_by_several_threads_at_once() -> None:
    using, inside, out = Using("primary", None), threading.Barrier(2), threading.Barrier(2)
    seen: list[Any] = []

    def work() -> None:
        with using:
            inside.wait()
            seen.append(wish("default"))
            out.wait()
        seen.append(wish("default"))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == ["primary", "primary", None, None]


def test_thread__does_not_inherit_the_block() -> None:
    seen = []
    with Using("primary", None):
        thread = threading.Thread(target=lambda: seen.append(wish("default")))
        thread.start()
        thread.join()
    assert seen == [None]


def test_decorator__covers_a_function() -> None:
    @Using("replica", "default")
    def work(one: int, *, other: int) -> Any:
        """Do it."""
        return wish("default"), one + other

    assert work(1, other=2) == ("replica", 3)
    assert (work.__name__, work.__doc__) == ("work", "Do it.")
    assert wish("default") is None


def test_decorator__covers_recursion() -> None:
    @Using("primary", None)
    def work(depth: int) -> list[Any]:
        return [wish("default"), *(work(depth - 1) if depth else [])]

    assert work(2) == ["primary"] * 3


def test_decorator__covers_a_coroutine_function_until_it_is_done() -> None:
    @Using("primary", None)
    async def work() -> Any:
        await asyncio.sleep(0)
        return wish("default"), await sync_to_async(wish)("default")

    assert inspect.iscoroutinefunction(work)
    assert asyncio.run(work()) == ("primary", "primary")


def test_decorator__covers_what_is_only_marked_as_a_coroutine_function() -> None:
    """As Django marks what ``as_view()`` returns for a class with async handlers."""

    async def answer() -> Any:
        await asyncio.sleep(0)
        return wish("default")

    def view() -> Any:
        return answer()

    covered = Using("primary", None)(markcoroutinefunction(view))
    assert inspect.iscoroutinefunction(covered)
    assert asyncio.run(covered()) == "primary"


def test_decorator__covers_the_steps_of_a_generator_and_nothing_else() -> None:
    @Using("primary", None)
    def work(first: Any) -> Any:
        try:
            sent = yield first, wish("default")
            yield sent, wish("default")
        except ZeroDivisionError:
            yield "caught", wish("default")
        finally:
            seen.append(wish("default"))
        return wish("default")

    seen: list[Any] = []
    assert inspect.isgeneratorfunction(work)
    for ending in ("close", "go on"):
        steps = work(1)
        assert next(steps) == (1, "primary")
        assert wish("default") is None
        assert steps.send(2) == (2, "primary")
        assert steps.throw(ZeroDivisionError) == ("caught", "primary")
        if ending == "close":
            steps.close()
        else:
            with pytest.raises(StopIteration) as end:
                next(steps)
            assert end.value.value == "primary"
        assert wish("default") is None
    assert seen == ["primary"] * 2


def test_decorator__covers_the_steps_of_an_asynchronous_generator_and_nothing_else() -> None:
    @Using("primary", None)
    async def work(first: Any) -> Any:
        try:
            sent = yield first, await sync_to_async(wish)("default")
            yield sent, wish("default")
        except ZeroDivisionError:
            yield "caught", wish("default")
        finally:
            seen.append(wish("default"))

    async def main() -> None:
        assert [item async for item in work(1)] == [(1, "primary"), (None, "primary")]
        steps = work(1)
        assert await anext(steps) == (1, "primary")
        assert wish("default") is None
        assert await steps.asend(2) == (2, "primary")
        assert await steps.athrow(ZeroDivisionError) == ("caught", "primary")
        await steps.aclose()
        assert wish("default") is None

    seen: list[Any] = []
    assert inspect.isasyncgenfunction(work)
    asyncio.run(main())
    assert seen == ["primary"] * 2


def test_decorator__refuses_a_class_which_it_would_turn_into_a_function() -> None:
    with pytest.raises(TypeError, match=r"not a class such as View\. Decorate its methods"):

        @Using("primary", None)
        class View:
            pass


def test_async_with__is_understood_too() -> None:
    async def main() -> None:
        async with Using("primary", None):
            await asyncio.sleep(0)
            assert wish("default") == "primary"
        assert wish("default") is None
        with pytest.raises(ZeroDivisionError):
            async with Using("primary", None):
                raise ZeroDivisionError

    asyncio.run(main())


def test_tasks__have_blocks_of_their_own() -> None:
    async def work(role: Any, mine: asyncio.Event, others: asyncio.Event) -> Any:
        with Using(role, None):
            mine.set()
            await others.wait()
            return wish("default")

    async def main() -> None:
        one, other = asyncio.Event(), asyncio.Event()
        roles = await asyncio.gather(work("primary", one, other), work("replica", other, one))
        assert roles == ["primary", "replica"]
        assert wish("default") is None

    asyncio.run(main())


def test_check__is_asked_at_each_start_and_not_before() -> None:
    asked: list[str] = []

    def refuse(alias: str) -> None:
        asked.append(alias)
        raise ValueError(alias)

    using = Using("primary", "nowhere", refuse)
    work = using(lambda: None)
    assert asked == []
    for start in (using.__enter__, work):
        with pytest.raises(ValueError, match="nowhere"):
            start()
    assert asked == ["nowhere"] * 2
    assert wish("nowhere") is None
