"""django-prometheus counts connections that were opened, and every query."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection, transaction

from django_poolrouter import pools
from tests.integration.packages.scripts import need

BACKENDS = "tests.integration.packages.backends"
POOL = {"pool_size": 2, "max_overflow": 0, "pool_timeout": 30}
REQUESTS = 5


def count(metric: Any) -> int:
    return int(metric.labels(connection.alias, connection.vendor)._value.get())


def query() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)


@pytest.mark.parametrize("way", ["prometheus", "prometheus_over_ours"])
def test_metrics__count_connects_and_queries(
    postgresql_database: dict[str, str], use_databases: Any, way: str, hold: str
) -> None:
    need("django_prometheus")
    from django_prometheus.db import connections_total, execute_many_total, execute_total

    options = {"pool": {**POOL, "hold": hold}}
    entry = {"ENGINE": f"{BACKENDS}.{way}", **postgresql_database, "OPTIONS": options}
    use_databases({"default": entry})
    connects = count(connections_total)
    query()  # Opens, and sets up the session once.
    connection.close()
    assert count(connections_total) == connects + 1
    executed, many = count(execute_total), count(execute_many_total)
    for _ in range(REQUESTS):
        query()
        with transaction.atomic():
            query()
        with connection.cursor() as cursor:
            cursor.executemany("SELECT %s", [[1], [2]])
        connection.close()
    assert count(connections_total) == connects + 1 == connects + pools["default"].status().connects
    assert count(execute_total) == executed + REQUESTS * 4
    assert count(execute_many_total) == many + REQUESTS * 2
    pools["default"].clear()
    query()
    connection.close()
    assert count(connections_total) == connects + 2
