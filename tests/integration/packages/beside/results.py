"""Results of Celery's tasks in django-celery-results: stored by one process, read by another."""

from __future__ import annotations

from typing import Any

from .project import Site

JSON = ("application/json", "utf-8")


def results(site: Site) -> dict[str, Any]:
    from celery import Celery, states
    from django.db import router
    from django_celery_results.models import TaskResult

    with site.process():
        TaskResult.objects.all().delete()
    site.let_replicas_lag()
    found: dict[str, Any] = {"read from": site.asks(lambda: router.db_for_read(TaskResult))}

    def status() -> list[str]:
        task = TaskResult.objects.get_task("one")
        return [task.status, task.result]

    for state, result in ((states.STARTED, "0"), (states.SUCCESS, "1")):
        with site.process():
            TaskResult.objects.store_result(*JSON, "one", result, state)
        found[state] = site.asks(status)

    app = Celery(broker="memory://", backend="django-db", set_as_current=False)
    with site.process():
        app.backend.store_result("two", {"answer": 42}, states.SUCCESS)
    found["of the app"] = site.asks(lambda: app.AsyncResult("two").get(timeout=1))
    found["rows"] = site.asks(TaskResult.objects.count)
    with site.process():
        app.AsyncResult("two").forget()
    found["forgotten"] = site.asks(TaskResult.objects.count)
    with site.process():
        TaskResult.objects.delete_expired(0)
    found["expired"] = site.asks(TaskResult.objects.count)
    return found
