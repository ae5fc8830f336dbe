"""Handles Celery's signals that a task is sent, starts and ends."""

from __future__ import annotations

from typing import Any

from celery import signals

from ...jobs import carried, check_reads, job_scope

HEADER = "poolrouter"


def connect() -> None:
    """Connect the signals in a process that sends or runs tasks.  A second call is harmless."""
    signals.before_task_publish.connect(on_send, dispatch_uid=__name__)
    signals.task_prerun.connect(on_start, dispatch_uid=__name__)
    signals.task_postrun.connect(on_end, dispatch_uid=__name__)


def on_send(*, headers: dict[str, Any], **kwargs: Any) -> None:
    """Put what a task must know of its sender's scope into its headers."""
    headers.pop(HEADER, None)  # a task that is retried has the header of its first run
    if from_sender := carried():
        headers[HEADER] = from_sender


def on_start(*, task: Any, **kwargs: Any) -> None:
    """Open the task's scope.

    Raises:
        ValueError: the task's ``reads`` is wrong.  Celery logs this and runs the task, which
            then reads from the primary.

    """
    # An eager task is not sent: its sender runs it.
    from_sender = carried() if task.request.is_eager else task.request.get(HEADER)
    reads = getattr(task, "reads", "wait")
    block = task.request.poolrouter_block = job_scope(from_sender, reads)
    block.__enter__()
    check_reads(reads)


def on_end(*, task: Any, **kwargs: Any) -> None:
    """Close the task's scope."""
    block = vars(task.request).pop("poolrouter_block", None)
    if block is not None:
        block.__exit__(None, None, None)
