"""Answers within a time limit, even though nothing can interrupt a connect."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from ..errors import PoolTimeout

T = TypeVar("T")
# The share of the time limit that a question gets, so that its own error comes before ours.
SHARE = 0.9


def answer_within(
    timeout: float, question: Callable[[float], T], *, turn: threading.Lock, name: str
) -> T:
    """Ask a question in a separate thread and return its answer.

    The thread may outlast the call, because nothing can interrupt a connect.  ``turn`` lets only
    one question run at a time, so threads and connections do not pile up while a database hangs.

    Args:
        timeout: seconds for the whole call.
        question: called with its time limit in seconds; it must keep to it.
        turn: held while the question runs.
        name: the thread's name.

    Raises:
        PoolTimeout: there was no answer in time.
        Exception: the error that the question raised.

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
