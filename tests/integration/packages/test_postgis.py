"""PostGIS: connections of a pool know its types after ``migrate`` has created the extension."""

from __future__ import annotations

import ctypes.util
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.packages.scripts import missing, run
from tests.servers import PostgresqlCluster
from tests.servers.postgresql import BIN_VARIABLE

ENGINES = {
    "django": "django.contrib.gis.db.backends.postgis",
    "recipe": "tests.integration.packages.backends.postgis",
}
POOL = {"pool_size": 4, "max_overflow": 0, "pool_timeout": 30}
ANSWER = "here, 32140, 110870 m"
HOW = "PostGIS (apt-get install postgresql-postgis gdal-bin; or make packages)"

pytestmark = pytest.mark.slow
numbers = itertools.count()


def programs() -> Path | None:
    """Return the folder of a PostgreSQL that has PostGIS, if Django can use it here."""
    if ctypes.util.find_library("gdal") is None:
        return None
    found = Path("/usr/share/postgresql").glob("*/extension/postgis_raster.control")
    newest = max((path.parts[4] for path in found), key=int, default=None)
    return None if newest is None else Path("/usr/lib/postgresql") / newest / "bin"


@pytest.fixture(scope="module")
def postgis() -> Iterator[PostgresqlCluster]:
    """Start a server of its own: the one from PyPI has no PostGIS."""
    found = programs()
    if found is None:
        missing(HOW, required_by="POOLROUTER_REQUIRE_POSTGIS")
    cluster = PostgresqlCluster(replicas=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(BIN_VARIABLE, str(found))
        cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture
def seen(postgis: PostgresqlCluster) -> Any:
    """Make a fresh database by ``migrate``, and return what later requests see."""

    def seen(engine: str, warm: int = 0, **options: Any) -> dict[str, int]:
        postgis.create_database(name := f"places{next(numbers)}")
        # Only a superuser may create the extension.
        role = {"USER": postgis.SUPERUSER, "PASSWORD": ""}
        database = {**postgis.settings("primary", name), **role}
        entry = {"ENGINE": ENGINES[engine], **database, "OPTIONS": options}
        found: dict[str, int] = run("postgis_session", {"entry": entry, "warm": warm})["seen"]
        return found

    return seen


def test_django__gives_the_answer(seen: Any) -> None:
    assert list(seen("django")) == [ANSWER]


@pytest.mark.parametrize("warm", [0, 4], ids=["empty pool", "full pool"])
def test_pool__knows_geometry_after_migrate(seen: Any, hold: str, warm: int) -> None:
    found = seen("recipe", warm, pool={**POOL, "hold": hold})
    assert found == {ANSWER: 25}
