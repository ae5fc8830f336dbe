"""A worker of django-tasks-db, and what others see of its tasks."""

from __future__ import annotations

import importlib
from typing import Any

from .project import HERE, Site


def worker(site: Site) -> dict[str, Any]:
    from django.core.management import call_command
    from django.db import router
    from django_tasks_db.compat import task_backends
    from django_tasks_db.models import DBTaskResult

    from .notes.models import Note

    tasks = importlib.import_module(f"{HERE}.jobs")
    with site.process():
        DBTaskResult.objects.all().delete()
        Note.objects.all().delete()
    site.let_replicas_lag()

    def work() -> None:
        with site.process():
            call_command("db_worker", batch=True, interval=0, startup_delay=False, verbosity=0)

    def status(key: str) -> Any:
        result = site.asks(lambda: task_backends["default"].get_result(key))
        return result.status.name

    found: dict[str, Any] = {"read from": site.asks(lambda: router.db_for_read(DBTaskResult))}
    with site.process():
        good = tasks.note.enqueue("by a task").id
        bad = tasks.fail.enqueue().id
    found["waiting"] = [status(good), status(bad)]
    work()
    found["done"] = [status(good), status(bad)]
    found["notes"] = list(
        Note.objects.using("default").exclude(text="fresh").values_list("text", flat=True)
    )

    # A worker dies between its claim and the end of the transaction.
    with site.process():
        claimed = tasks.note.enqueue("never").id
    claim, DBTaskResult.claim = DBTaskResult.claim, die_after(DBTaskResult.claim)
    try:
        work()
        found["died"] = False
    except ZeroDivisionError:
        found["died"] = True
    finally:
        DBTaskResult.claim = claim
    found["after its death"] = status(claimed)
    work()
    found["in the end"] = status(claimed)
    return found


def die_after(claim: Any) -> Any:
    def dying(self: Any, worker_id: str) -> None:
        claim(self, worker_id)
        raise ZeroDivisionError

    return dying
