"""For Celery."""

from __future__ import annotations

import signal
import sys
import threading

import django
from celery import Celery

django.setup()
app = Celery("loadsite")
app.config_from_object("django.conf:settings", namespace="CELERY")


@app.task
def work() -> None:
    from tests.support.loadsite.urls import work

    work()


if __name__ == "__main__":  # sends tasks until it is told to end, and none by half
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    while not told.wait(float(sys.argv[1])):
        app.send_task("tests.support.loadsite.tasks.work")
