"""Celery's tasks of the project; the broker is the folder that CELERY_FOLDER names."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from django.db.models.expressions import RawSQL

from django_poolrouter.routing import current_scope
from tests.support import broker
from tests.support.testapp.shop.models import Author

FOLDER = os.environ["CELERY_FOLDER"]

app = Celery("testproject")
app.conf.update(
    broker_url=broker.URL,
    broker_transport_options={
        "data_folder_in": f"{FOLDER}/queue",
        "data_folder_out": f"{FOLDER}/queue",
        "control_folder": f"{FOLDER}/control",
        "polling_interval": 0.05,
    },
    broker_connection_retry_on_startup=True,
    result_backend=f"file://{FOLDER}/results",
    worker_prefetch_multiplier=1,
)


def places() -> list[str]:
    """Return the aliases that reads of the moment go to, as the row there says."""
    return [Author.objects.get(pk=1).name for _ in range(3)]


@app.task
def read() -> Any:
    return {"places": places(), "pid": os.getpid(), "wrote": sorted(current_scope().wrote)}


@app.task(reads="primary")
def read_primary() -> list[str]:
    return places()


@app.task(reads="any")
def read_any() -> list[str]:
    return places()


@app.task(reads="sometimes")
def read_sometimes() -> list[str]:
    return places()


def look(name: str, port: str) -> list[Any]:
    """Return the port of the server that reads, by its own SQL, and if a row is there."""
    server = Author.objects.annotate(port=RawSQL(port, ())).get(name="Ada")  # noqa: S611
    return [server.port, Author.objects.filter(name=name).exists()]


look_wait = app.task(name="look_wait")(look)
look_primary = app.task(name="look_primary", reads="primary")(look)
look_any = app.task(name="look_any", reads="any")(look)


@app.task
def write() -> list[str]:
    Author.objects.create(name="new")
    return places()


@app.task
def fail() -> None:
    Author.objects.create(name="new")
    raise ZeroDivisionError


@app.task(bind=True)
def write_and_retry(self: Any) -> list[str]:
    if self.request.retries:
        return places()
    Author.objects.create(name="new")
    raise self.retry(countdown=0)


@app.task
def write_and_send() -> list[Any]:
    """Return the ids of a task sent before a write, and of one sent after it."""
    before = read.delay().id
    Author.objects.create(name="new")
    return [before, read.delay().id]
