"""A router's answer: ours with two replicas, in a scope with nothing pending, and a bare cycle."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator
from typing import Any

from benchmarks.rounds import compare, nanoseconds, ratio, verdict

TIMES = 20_000


class Cycle:
    """The least that a router can do; not right in Django, see docs/routing.md."""

    def __init__(self) -> None:
        self._next = itertools.cycle(["replica1", "replica2"]).__next__

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return self._next()


def lines() -> Iterator[str]:
    import django
    from django.conf import settings

    entry = {"ENGINE": "django_poolrouter.backends.sqlite3", "NAME": "benchmark.sqlite3"}
    replica = {**entry, "ROUTER": {"REPLICA_OF": "default"}}
    settings.configure(
        DATABASES={"default": entry, "replica1": replica, "replica2": dict(replica)},
        INSTALLED_APPS=["django.contrib.contenttypes", "django_poolrouter"],
        SECRET_KEY="for the benchmark",
    )
    django.setup()
    from django.contrib.contenttypes.models import ContentType
    from django.db.utils import ConnectionRouter

    from django_poolrouter import scope
    from django_poolrouter.router import PoolRouter

    routers = {
        "ours": ConnectionRouter([PoolRouter()]),
        "cycle": ConnectionRouter([Cycle()]),
    }
    with scope():
        found = compare(
            {
                name: lambda r=router: nanoseconds(lambda: r.db_for_read(ContentType), TIMES)
                for name, router in routers.items()
            }
        )
    for name, values in found.items():
        yield f"      {name}: {statistics.median(values):.0f} ns"
    yield verdict("of a bare cycle's time", ratio(found["ours"], found["cycle"]), 4)


if __name__ == "__main__":
    print(*lines(), sep="\n")
