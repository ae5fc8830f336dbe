"""A process with Sentry installed prints the spans of some requests. Nothing is sent."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from typing import Any

import sentry_sdk
from sentry_sdk.integrations.django import DjangoIntegration
from sentry_sdk.transport import Transport

QUERY = "SELECT 42"


class Captured(Transport):
    """Keeps the transactions that Sentry would send."""

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self.transactions: dict[str, list[str]] = {}

    def capture_envelope(self, envelope: Any) -> None:
        event = envelope.get_transaction_event()
        if event is not None:
            names = [span["description"] for span in event["spans"]]
            # Django's own queries, which set up a session, are not looked at.
            found = [name for name in names if name in ("connect", QUERY)]
            self.transactions[event["transaction"]] = found


def set_up(order: dict[str, Any]) -> Captured:
    import django
    from django.conf import settings

    captured = Captured({})
    sentry_sdk.init(
        dsn="http://key@sentry.invalid/1",
        transport=captured,
        traces_sample_rate=1.0,
        integrations=[DjangoIntegration()],
    )
    settings.configure(
        SECRET_KEY="only-for-tests",
        DATABASES={"default": order["entry"]},
        INSTALLED_APPS=["django_poolrouter"],
        USE_TZ=True,
    )
    django.setup()
    return captured


def query() -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(QUERY)
        assert cursor.fetchone() == (42,)


def trace(name: str, work: Callable[[], None]) -> None:
    from django.db import connection

    with sentry_sdk.start_transaction(op="test", name=name):
        work()
        connection.close()


def trace_a_wait(name: str) -> None:
    """Trace a query for which there is a connection only when it waits already."""
    from django_poolrouter import pools

    pool = pools["default"]
    lease = pool.checkout()
    thread = threading.Thread(target=trace, args=(name, query))
    thread.start()
    while not pool.status().waiting:
        thread.join(0.001)
    lease.pool.checkin(lease)
    thread.join()


def two_queries_and_a_block() -> None:
    from django.db import transaction

    query()
    with transaction.atomic():
        query()
    query()


def main() -> dict[str, list[str]]:
    order = json.loads(sys.argv[1])
    captured = set_up(order)
    trace("opened", query)
    trace("idle", query)
    trace("several", two_queries_and_a_block)
    if order["waits"]:
        trace_a_wait("waited")
        trace("idle again", query)
    sentry_sdk.flush()
    return captured.transactions


if __name__ == "__main__":
    print(json.dumps(main()))
