"""A Celery worker that gives itself a task as soon as it is ready."""

from celery import Celery
from celery.signals import worker_ready

from tests.serving import work

app = Celery("serving", broker="memory://")
app.conf.worker_pool = "prefork"


@app.task
def hold() -> str:
    return work.hold()


@worker_ready.connect
def begin(**kwargs: object) -> None:
    hold.delay()
