"""For Celery."""

from __future__ import annotations

import sys
import time

import django
from celery import Celery

django.setup()
app = Celery("loadsite")
app.config_from_object("django.conf:settings", namespace="CELERY")


@app.task
def work() -> None:
    from tests.loadsite.urls import work

    work()


if __name__ == "__main__":  # sends tasks until it is killed
    while True:
        app.send_task("tests.loadsite.tasks.work")
        time.sleep(float(sys.argv[1]))
