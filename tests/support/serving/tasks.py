"""A Celery worker that gives itself the tasks that TASKS names, as soon as it is ready."""

import os

from celery import Celery
from celery.signals import worker_ready

from tests.support.serving import work

app = Celery("serving", broker="memory://")
app.conf.worker_pool = "prefork"


@app.task
def hold() -> str:
    return work.hold()


@app.task
def session() -> None:
    print(f"session {work.session()} of {os.getpid()}", flush=True)


@worker_ready.connect
def begin(**kwargs: object) -> None:
    for name in os.environ.get("TASKS", "hold").split():
        globals()[name].delay()
