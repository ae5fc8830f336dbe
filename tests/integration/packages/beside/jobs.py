"""Tasks for the worker of django-tasks-db."""

from __future__ import annotations

from importlib.util import find_spec

if find_spec("django.tasks"):
    from django.tasks import task
else:
    from django_tasks import task  # the backport for Django 5.2

from .notes.jobs import write


@task()
def note(text: str) -> str:
    return write(text)


@task()
def fail() -> None:
    raise RuntimeError("as ordered")
