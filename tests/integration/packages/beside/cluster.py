"""Schedules and the queue of django-q."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from .project import HERE, Site


def cluster(site: Site) -> dict[str, Any]:
    from django.db import router
    from django.utils import timezone
    from django_q import tasks
    from django_q.brokers import get_broker
    from django_q.models import OrmQ, Schedule, Task
    from django_q.scheduler import scheduler

    func = f"{HERE}.notes.jobs.write"
    with site.process():
        for model in (OrmQ, Schedule, Task):
            model.objects.all().delete()
    site.let_replicas_lag()

    def schedule_due() -> int:
        """Let two schedulers look, one after the other; return how many tasks wait."""
        for _ in range(2):
            with site.process():
                scheduler(get_broker())
        return site.asks(get_broker().queue_size)

    def names() -> list[str]:
        return list(Schedule.objects.order_by("name").values_list("name", flat=True))

    found: dict[str, Any] = {"read from": site.asks(lambda: router.db_for_read(Schedule))}
    due = timezone.now() - timedelta(seconds=1)
    with site.process():
        tasks.schedule(func, "once", name="once", next_run=due, schedule_type=Schedule.ONCE)
        tasks.schedule(func, "daily", name="daily", next_run=due, schedule_type=Schedule.DAILY)
    found["scheduled"] = site.asks(names)
    found["queued"] = schedule_due()
    found["left"] = site.asks(names)
    found["next"] = site.asks(lambda: Schedule.objects.get(name="daily").next_run > timezone.now())

    # Two workers ask for a task.  Each gets another, and acknowledges it.
    taken = [site.asks(get_broker().dequeue) for _ in range(2)]
    found["taken"] = [len(part) for part in taken]
    found["different"] = taken[0] != taken[1]
    found["size"] = site.asks(get_broker().queue_size)
    for [(key, _)] in taken:
        with site.process():
            get_broker().acknowledge(key)
    found["rows"] = site.asks(OrmQ.objects.count)

    with site.process():
        key = tasks.async_task(func, "at once", sync=True)
    found["result"] = site.asks(lambda: tasks.result(key))
    found["group"] = site.asks(Task.objects.count)
    with site.process():
        Task.objects.get(id=key).delete()
    found["deleted"] = site.asks(lambda: tasks.fetch(key)) is None
    return found
