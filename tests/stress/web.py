"""A web process of a small site, for tests that need several: one row for each user.

    python -m tests.stress.web '{"databases": …, "routing": …, "port": "SQL for the port"}'

prints the number of the port that it serves on, and serves until its input ends.
"""

from __future__ import annotations

import json
import sys
import threading
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import django
from django.conf import settings
from django.http import HttpRequest, JsonResponse


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 100


class Handler(WSGIRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


def write(request: HttpRequest, user: int, value: int) -> JsonResponse:
    from tests.support.testapp.shop.models import Author

    Author.objects.filter(pk=user).update(name=str(value))
    return JsonResponse({})


def read(request: HttpRequest, user: int) -> JsonResponse:
    from django.db.models.expressions import RawSQL

    from tests.support.testapp.shop.models import Author

    authors = Author.objects.annotate(port=RawSQL(asked["port"], ()))  # noqa: S611
    name, port = authors.values_list("name", "port").get(pk=user)
    return JsonResponse({"value": int(name), "port": port})


asked = json.loads(sys.argv[1]) if __name__ == "__main__" else {}


def main() -> None:
    from django.urls import path

    settings.configure(
        ALLOWED_HOSTS=["*"],
        DATABASES=asked["databases"],
        DATABASE_ROUTERS=["django_poolrouter.router.PoolRouter"],
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        INSTALLED_APPS=[
            "django.contrib.contenttypes",
            "django_poolrouter",
            "tests.support.testapp.shop",
        ],
        MIDDLEWARE=["django_poolrouter.middleware.RoutingMiddleware"],
        POOLROUTER={"ROUTING": asked["routing"]},
        ROOT_URLCONF=(
            path("write/<int:user>/<int:value>", write),
            path("read/<int:user>", read),
        ),
        SECRET_KEY="the same in all processes",
    )
    django.setup()
    from django.core.handlers.wsgi import WSGIHandler

    server = make_server("127.0.0.1", 0, WSGIHandler(), Server, Handler)
    print(server.server_port, flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
