"""Reports leaks, with the stack of the thread that holds the lease."""

from __future__ import annotations

import gc
import logging
import sys
import traceback
from types import FrameType

from .grants import PoolState

logger = logging.getLogger("django_poolrouter.pool")


def report_leaks(state: PoolState, now: int, limit: int) -> None:
    """Log each lease older than ``limit`` (ns) once, with the stack of its holder."""
    for entry, since in state.take_leaks(now - limit):
        frame = _frame_of(entry.holder)
        stack = "".join(traceback.format_stack(frame)) if frame else "(its thread has ended)\n"
        logger.warning(
            "pool %s: a connection has been in use for %.1f s, longer than leak_after, by:\n%s",
            state.name,
            (now - since) / 1e9,
            stack,
        )


def _frame_of(ident: int) -> FrameType | None:
    """Return the current frame of a thread; under gevent, ``ident`` is the id of a greenlet."""
    if (frame := sys._current_frames().get(ident)) is not None:
        return frame
    objects = (each for each in gc.get_objects() if id(each) == ident)
    return getattr(next(objects, None), "gr_frame", None)
