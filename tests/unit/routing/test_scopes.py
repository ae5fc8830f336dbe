"""What a scope remembers, whom it is shared with, and when it is forgotten."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from django_poolrouter.routing import Scope, carry_scope, current_scope, scope
from django_poolrouter.routing.scopes import aiterate_in, iterate_in


class Clock:
    """A clock that goes when it is told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Connection:
    """What a scope asks of one."""

    def __init__(self, goes_on: bool = False) -> None:
        self.goes_on = goes_on


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def entered(clock: Clock) -> Scope:
    return Scope(clock=clock)


@pytest.fixture(autouse=True)
def _no_scope_is_left() -> Iterator[None]:
    before = current_scope()
    yield
    assert current_scope() is before


# -- pins -------------------------------------------------------------------------------


def test_scope__takes_over_what_one_within_it_wrote(entered: Scope, clock: Clock) -> None:
    inner, transaction = Scope(clock=clock), Connection(goes_on=True)
    inner.note_write("default", 5, transaction)
    inner.note_write("orders", 5, Connection())
    clock.now += 2
    for cluster in ("default", "orders", "other"):
        entered.take_over(inner, cluster, 5)
    assert entered.wrote == {"default", "orders"}
    assert entered.pinned_for("orders", 5) == 3
    clock.now += 100
    assert (entered.pinned_for("default", 5), entered.pinned_for("orders", 5)) == (5, 0)
    transaction.goes_on = False
    assert not entered.is_writing("default")


def test_scope__has_no_pin_at_first(entered: Scope) -> None:
    assert entered.pinned_for("default", 5) == 0
    assert entered.wrote == set()


def test_write__pins_its_cluster_for_a_while(entered: Scope, clock: Clock) -> None:
    entered.note_write("default", 5, Connection())
    assert entered.wrote == {"default"}
    assert entered.pinned_for("default", 5) == 5
    clock.now += 4
    assert entered.pinned_for("default", 5) == 1
    clock.now += 1
    assert entered.pinned_for("default", 5) == 0
    clock.now += 9
    assert entered.pinned_for("default", 5) == 0


def test_write__leaves_other_clusters_alone(entered: Scope) -> None:
    entered.note_write("default", 5, Connection())
    assert entered.pinned_for("orders", 5) == 0


def test_second_write__pins_anew(entered: Scope, clock: Clock) -> None:
    entered.note_write("default", 5, Connection())
    clock.now += 4
    entered.note_write("default", 5, Connection())
    assert entered.pinned_for("default", 5) == 5


def test_shorter_pin__never_cuts_a_longer_one(entered: Scope) -> None:
    entered.pin("default", 5)
    entered.pin("default", 1)
    assert entered.pinned_for("default", 5) == 5


def test_pin__is_no_write(entered: Scope) -> None:
    entered.pin("default", 5)
    assert entered.wrote == set()


def test_pin__starts_when_the_transaction_ends(entered: Scope, clock: Clock) -> None:
    connection = Connection(goes_on=True)
    entered.note_write("default", 5, connection)
    clock.now += 60
    assert entered.pinned_for("default", 5) == 5
    clock.now += 60
    connection.goes_on = False
    assert entered.pinned_for("default", 5) == 5
    clock.now += 5
    assert entered.pinned_for("default", 5) == 0


def test_pin__waits_for_the_last_of_several_transactions(entered: Scope, clock: Clock) -> None:
    one, other = Connection(goes_on=True), Connection(goes_on=True)
    for connection in (one, other):
        entered.note_write("default", 5, connection)
    one.goes_on = False
    for _ in range(3):
        clock.now += 60
        assert entered.pinned_for("default", 5) == 5
    other.goes_on = False
    assert entered.pinned_for("default", 5) == 5
    clock.now += 6
    assert entered.pinned_for("default", 5) == 0


def test_transaction_of_another_cluster__does_not_matter(entered: Scope, clock: Clock) -> None:
    entered.note_write("orders", 5, Connection(goes_on=True))
    entered.note_write("default", 5, Connection())
    clock.now += 5
    assert entered.pinned_for("default", 5) == 0
    assert entered.pinned_for("orders", 5) == 5


# -- choices ----------------------------------------------------------------------------


def test_choice__stays_until_a_query_ran() -> None:
    entered = Scope(sticky=False)
    assert entered.choice("default") is None
    assert entered.choose("default", "replica1") == "replica1"
    assert entered.choose("default", "replica2") == "replica1"
    assert entered.choice("default") == "replica1"
    entered.note_read("orders")
    assert entered.choice("default") == "replica1"
    entered.note_read("default")
    assert entered.choice("default") is None
    entered.note_read("default")


def test_sticky_choice__stays_after_queries() -> None:
    entered = Scope()
    entered.choose("default", "replica1")
    entered.note_read("default")
    assert entered.choice("default") == "replica1"


# -- who shares a scope -----------------------------------------------------------------


def in_new_context(function):  # type: ignore[no-untyped-def]
    return contextvars.Context().run(function)


def test_context__has_a_scope_of_its_own_that_turns() -> None:
    first = in_new_context(lambda: (current_scope(), current_scope()))
    assert first[0] is first[1]
    assert not first[0].sticky
    assert in_new_context(current_scope) is not first[0]


def test_scope_block__is_sticky_nests_and_ends() -> None:
    with scope() as outer:
        assert outer.sticky
        assert current_scope() is outer
        with scope() as inner:
            assert inner is not outer
            assert current_scope() is inner
        assert current_scope() is outer


def test_scope_block__ends_with_an_exception() -> None:
    before = current_scope()
    with pytest.raises(ZeroDivisionError), scope():
        raise ZeroDivisionError
    assert current_scope() is before


def test_scope_block__can_enter_a_given_scope_again(entered: Scope) -> None:
    for _ in range(2):
        with scope(entered) as given:
            assert given is entered
            assert current_scope() is entered


def test_scope__decorates_functions_with_one_scope_per_call() -> None:
    @scope()
    def job() -> Scope:
        return current_scope()

    one, other = job(), job()
    assert one is not other
    assert one.sticky


def test_threads__have_scopes_of_their_own() -> None:
    start = threading.Barrier(4)

    def work() -> Scope:
        start.wait()
        return current_scope()

    with scope() as outer, ThreadPoolExecutor(4) as executor:
        scopes = [future.result() for future in [executor.submit(work) for _ in range(4)]]
        assert len({id(each) for each in [*scopes, outer]}) == 5


def test_tasks__share_the_scope_they_were_started_in() -> None:
    async def write(cluster: str) -> None:
        current_scope().note_write(cluster, 60, Connection())

    async def main() -> None:
        with scope() as outer:
            await asyncio.gather(write("default"), asyncio.create_task(write("orders")))
            assert outer.wrote == {"default", "orders"}
            assert await asyncio.to_thread(current_scope) is outer

    asyncio.run(main())


def test_tasks__without_a_scope_share_nothing_but_their_callers() -> None:
    async def main() -> None:
        # Nobody asked for a scope before, so each task makes one.
        one, other = await asyncio.gather(ask(), ask())
        assert one is not other
        mine = current_scope()
        assert await asyncio.gather(ask(), ask()) == [mine, mine]

    async def ask() -> Scope:
        return current_scope()

    contextvars.Context().run(lambda: asyncio.run(main()))


def test_tasks__can_open_scopes_side_by_side() -> None:
    async def request(opened: asyncio.Event, done: asyncio.Event) -> Scope:
        with scope() as mine:
            opened.set()
            await done.wait()
            assert current_scope() is mine
            return mine

    async def main() -> None:
        one, other = asyncio.Event(), asyncio.Event()
        scopes = await asyncio.gather(request(one, other), request(other, one))
        assert scopes[0] is not scopes[1]

    asyncio.run(main())


def test_threads__may_write_through_one_scope_at_once(entered: Scope) -> None:
    start = threading.Barrier(8)

    def work(number: int) -> None:
        start.wait()
        for _ in range(500):
            entered.note_write("default", 5, Connection(goes_on=number % 2 == 0))
            entered.choose("default", f"replica{number}")
            entered.pinned_for("default", 5)
            entered.note_read("default")

    with ThreadPoolExecutor(8) as executor:
        for future in [executor.submit(work, number) for number in range(8)]:
            future.result()
    assert entered.pinned_for("default", 5) == 5


# -- streams ----------------------------------------------------------------------------


def test_iterate_in__produces_in_the_scope_and_hands_out_in_the_callers(entered: Scope) -> None:
    seen = []

    def produce() -> Iterator[bytes]:
        for number in range(3):
            seen.append(current_scope())
            yield bytes([number])

    before = current_scope()
    chunks = []
    for chunk in iterate_in(entered, produce()):
        assert current_scope() is before
        chunks.append(chunk)
    assert chunks == [b"\0", b"\1", b"\2"]
    assert seen == [entered] * 3


def test_iterate_in__passes_errors_on(entered: Scope) -> None:
    def produce() -> Iterator[bytes]:
        yield b"x"
        raise ZeroDivisionError

    stream = iterate_in(entered, produce())
    assert next(stream) == b"x"
    with pytest.raises(ZeroDivisionError):
        next(stream)


def test_aiterate_in__does_the_same_for_asynchronous_streams(entered: Scope) -> None:
    seen = []

    async def produce() -> AsyncIterator[bytes]:
        for number in range(3):
            await asyncio.sleep(0)
            seen.append(current_scope())
            yield bytes([number])

    async def main() -> None:
        before = current_scope()
        chunks = []
        async for chunk in aiterate_in(entered, produce()):
            assert current_scope() is before
            chunks.append(chunk)
        assert chunks == [b"\0", b"\1", b"\2"]

    asyncio.run(main())
    assert seen == [entered] * 3


# -- threads that a scope starts --------------------------------------------------------------


def test_carried_scope__is_the_same_in_several_threads_at_once() -> None:
    start = threading.Barrier(4)

    def work(number: int) -> Scope:
        start.wait(10)  # all of them are in the function
        current_scope().wrote.add(f"cluster {number}")
        return current_scope()

    with scope() as entered, ThreadPoolExecutor(4) as executor:
        carried = carry_scope(work)
        found = [future.result() for future in [executor.submit(carried, n) for n in range(4)]]
    assert all(each is entered for each in found)
    assert entered.wrote == {f"cluster {number}" for number in range(4)}


def test_carried_scope__is_made_where_there_is_none_yet() -> None:
    def first() -> tuple[Scope, Scope]:
        with ThreadPoolExecutor(1) as executor:
            return executor.submit(carry_scope(current_scope)).result(), current_scope()

    inner, outer = contextvars.Context().run(first)
    assert inner is outer


def test_carry_scope__takes_no_coroutine_function() -> None:
    async def work() -> None: ...

    with pytest.raises(TypeError, match=r"not the coroutine function .*work\. Tasks and"):
        carry_scope(work)


def test_carried_function__keeps_its_name_and_its_result() -> None:
    def work(number: int) -> int:
        return number + 1

    carried = carry_scope(work)
    assert (carried.__name__, carried(1), carried(2)) == ("work", 2, 3)


def test_python_that_hands_the_context_on__needs_no_carry_scope() -> None:
    if not getattr(sys.flags, "thread_inherit_context", False):
        pytest.skip("a flag of Python 3.14, on by default where there is no GIL")
    found: list[Scope] = []
    with scope() as entered:
        thread = threading.Thread(target=lambda: found.append(current_scope()))
        thread.start()
        thread.join()
    assert found == [entered]


async def _in_thread() -> tuple[Scope, Scope]:
    with scope() as entered:
        return await asyncio.to_thread(current_scope), entered


def test_to_thread__has_the_scope_by_itself() -> None:
    inner, outer = asyncio.run(_in_thread())
    assert inner is outer
