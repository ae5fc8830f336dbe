"""An answer within a time limit, although a connect cannot be interrupted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from ..errors import PoolTimeout

T = TypeVar("T")
# The share of the time that a question gets, so that its own error comes before ours.
SHARE = 0.9


def answer_within(
    timeout: float, question: Callable[[float], T], *, turn: threading.Lock, name: str
) -> T:
    """Return the answer to a question, which a thread of its own asks.

    That thread may outlast the call, because nothing can interrupt a connect.  ``turn`` lets one
    question run at a time, so a database that hangs piles up neither threads nor connections.

    Args:
        timeout: seconds for everything.
        question: called with the seconds that it may take; it must end by itself.
        turn: held while the question runs.
        name: of the thread.

    Raises:
        PoolTimeout: there was no answer in time.
        Exception: what the question raised.

    """
    end = time.monotonic() + timeout
    late = PoolTimeout(f"no answer within {timeout:g} s")
    if not turn.acquire(timeout=timeout):
        raise late
    answer: Future[T] = Future()

    def run() -> None:
        try:
            result = question(timeout * SHARE)
        except BaseException as error:
            turn.release()
            answer.set_exception(error)
        else:
            turn.release()
            answer.set_result(result)

    try:
        threading.Thread(target=run, name=name, daemon=True).start()
    except BaseException:
        turn.release()
        raise
    try:
        return answer.result(end - time.monotonic())
    except TimeoutError as error:
        raise late from error
