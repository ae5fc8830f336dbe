"""A process makes a PostGIS database by ``migrate``, then many requests use its types."""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

THREADS = 4
REQUESTS = 5


def set_up(order: dict[str, Any]) -> None:
    import django
    from django.conf import settings

    settings.configure(
        SECRET_KEY="only-for-tests",
        DATABASES={"default": order["entry"]},
        INSTALLED_APPS=[
            "django.contrib.gis",
            "django_poolrouter",
            "tests.integration.packages.places",
        ],
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        USE_TZ=True,
    )
    django.setup()


def fill_the_pool(count: int) -> None:
    """Leave idle connections that were opened before the extension was there."""
    from django.db import connection

    opened = threading.Barrier(count)

    def use() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            opened.wait()
        connection.close()

    with ThreadPoolExecutor(count) as executor:
        for future in [executor.submit(use) for _ in range(count)]:
            future.result()


def migrate() -> None:
    """Do what the report of the fault did, word for word."""
    from django.core.management import call_command
    from django.db import connection

    connection.cursor().execute("select 1")
    connection.close()
    call_command("migrate", run_syncdb=True, verbosity=0)
    connection.cursor().execute("CREATE EXTENSION postgis_raster")
    connection.close()


def distance() -> str:
    """Return what a request sees: the distance to the only place, or an error."""
    from django.contrib.gis.db.models.functions import Distance
    from django.contrib.gis.geos import Point
    from django.db import DatabaseError, connection

    from tests.integration.packages.places.models import Place

    try:
        [place] = Place.objects.annotate(d=Distance("pt", Point(-95, 30, srid=4326)))
        return f"{place.name}, {place.pt.srid}, {place.d.standard:.0f} m"
    except DatabaseError as error:
        return f"{type(error).__name__}: {error}"
    finally:
        connection.close()


def main() -> dict[str, Any]:
    order = json.loads(sys.argv[1])
    set_up(order)
    if order["warm"]:
        fill_the_pool(order["warm"])
    migrate()
    from django.contrib.gis.geos import Point
    from django.db import connection

    from tests.integration.packages.places.models import Place

    Place.objects.create(name="here", pt=Point(-95, 31, srid=4326))
    connection.close()
    seen = Counter(distance() for _ in range(REQUESTS))
    with ThreadPoolExecutor(THREADS) as executor:
        for future in [executor.submit(distance) for _ in range(THREADS * REQUESTS)]:
            seen[future.result()] += 1
    return {"seen": seen}


if __name__ == "__main__":
    print(json.dumps(main()))
