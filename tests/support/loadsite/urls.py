"""The page."""

from __future__ import annotations

import random

from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.urls import path


def work() -> None:
    """Keep a connection busy for some milliseconds."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(%s)", [random.uniform(0, 0.03)])


def page(request: HttpRequest) -> HttpResponse:
    work()
    return HttpResponse("done")


urlpatterns = [path("", page)]
