"""Gives each task of django.tasks a scope of its own, in which it sees what its sender wrote."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, TypeVar, overload

from asgiref.sync import sync_to_async
from django.utils.module_loading import import_string

from ..jobs import carried, check_reads, job_scope

try:
    from django.tasks import Task
except ImportError as error:
    raise ImportError(
        "django_poolrouter.contrib.tasks needs django.tasks. Install Django 6.0 or later."
    ) from error

T = TypeVar("T")
ARGUMENT = "poolrouter_brought"
"""The keyword argument with what a task must know of its sender's scope: tasks have no headers."""


@overload
def scoped(task: T) -> T: ...
@overload
def scoped(*, reads: str = ...) -> Callable[[T], T]: ...
def scoped(task: Any = None, *, reads: str = "wait") -> Any:
    """Give a task a scope.  Put this decorator, bare or called, above Django's ``@task``.

    Args:
        task: the task that ``@task`` made.
        reads: one of ``django_poolrouter.jobs.READS``.

    Raises:
        ValueError: ``reads`` is something else.
        TypeError: the decorator does not stand above ``@task``.

    """
    check_reads(reads)

    def decorate(task: Any) -> Any:
        if not isinstance(task, Task):
            raise TypeError(f"Put @scoped above @task. This is not a task: {task!r}.")
        kind = type("ScopedTask", (_Scoped, type(task)), {"__slots__": ()})
        values = {field.name: getattr(task, field.name) for field in fields(task)}
        return kind(**{**values, "func": _in_scope(task.func, reads)})

    return decorate if task is None else decorate(task)


class _Scoped:
    """Makes a backend's tasks carry their sender's scope."""

    __slots__ = ()

    def enqueue(self, *args: Any, **kwargs: Any) -> Any:
        return super().enqueue(*args, **_with_carried(kwargs))  # type: ignore[misc]

    async def aenqueue(self, *args: Any, **kwargs: Any) -> Any:
        extended = await sync_to_async(_with_carried)(kwargs)  # this may query the primary
        return await super().aenqueue(*args, **extended)  # type: ignore[misc]

    def __reduce__(self) -> Any:
        options = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "func"}  # type: ignore[arg-type]
        return _found, (self.module_path, options)  # type: ignore[attr-defined]


def _found(path: str, options: dict[str, Any]) -> Any:
    return replace(import_string(path), **options)


def _with_carried(kwargs: dict[str, Any]) -> dict[str, Any]:
    from_sender = carried()
    return {**kwargs, ARGUMENT: from_sender} if from_sender else kwargs


def _in_scope(function: Callable[..., Any], reads: str) -> Callable[..., Any]:
    if iscoroutinefunction(function):

        @wraps(function)
        async def arun(*args: Any, **kwargs: Any) -> Any:
            with job_scope(kwargs.pop(ARGUMENT, None), reads):
                return await function(*args, **kwargs)

        return arun

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        with job_scope(kwargs.pop(ARGUMENT, None), reads):
            return function(*args, **kwargs)

    return run
