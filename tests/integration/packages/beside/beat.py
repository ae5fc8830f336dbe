"""The scheduler of django-celery-beat, while others change the schedule."""

from __future__ import annotations

from typing import Any

from .project import Site


def beat(site: Site) -> dict[str, Any]:
    from celery import Celery
    from django.db import router
    from django_celery_beat.models import IntervalSchedule, PeriodicTask, PeriodicTasks
    from django_celery_beat.schedulers import DatabaseScheduler

    with site.process():
        for model in (PeriodicTask, PeriodicTasks, IntervalSchedule):
            model.objects.all().delete()
    site.let_replicas_lag()
    found: dict[str, Any] = {"read from": site.asks(lambda: router.db_for_read(PeriodicTask))}
    with site.process():
        PeriodicTasks.update_changed()
    app = Celery(set_as_current=False)
    app.conf.result_expires = None  # else there is a task that deletes results
    with site.process():
        scheduler = DatabaseScheduler(app=app)

    def schedule() -> dict[str, float]:
        entries = scheduler.schedule.items()
        return {name: entry.schedule.run_every.total_seconds() for name, entry in entries}

    found["first"] = site.asks(schedule)
    with site.process():
        every, _ = IntervalSchedule.objects.get_or_create(every=10, period="seconds")
        PeriodicTask.objects.create(name="mail", task="mail", interval=every)
    found["added"] = site.asks(schedule)
    with site.process():
        task = PeriodicTask.objects.get(name="mail")
        task.interval, _ = IntervalSchedule.objects.get_or_create(every=20, period="seconds")
        task.save()
    found["changed"] = site.asks(schedule)
    with site.process():
        scheduler.reserve(scheduler.schedule["mail"])
        scheduler.sync()
    found["runs"] = site.asks(lambda: PeriodicTask.objects.get(name="mail").total_run_count)
    with site.process():
        PeriodicTask.objects.get(name="mail").delete()
    found["deleted"] = site.asks(schedule)
    return found
