"""django-dbbackup and django-extensions look at ENGINE: two settings tell them what ours are."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.packages.scripts import need

ENGINE = "django_poolrouter.backends.postgresql"
MAPPING = {ENGINE: "dbbackup.db.postgresql.PgDumpBinaryConnector"}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {"warnings": 2, "connector": "DjangoConnector"}),
        (
            {"DBBACKUP_CONNECTOR_MAPPING": MAPPING, "DBBACKUP_DATABASES": ["default"]},
            {"warnings": 0, "connector": "PgDumpBinaryConnector"},
        ),
    ],
)
def test_dbbackup__dumps_by_the_mapping(site: Any, settings: Any, expected: Any) -> None:
    need("dbbackup")
    found = site.run("tools", ["dbbackup"], replicas=True, what="dbbackup", **settings)
    assert found == expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {"warnings": 1, "dsn": "Unknown database, can't generate DSN"}),
        (
            {"DJANGO_EXTENSIONS_RESET_DB_POSTGRESQL_ENGINES": [ENGINE]},
            {"warnings": 0, "dsn": "postgresql"},
        ),
    ],
)
def test_extensions__know_the_engines_of_their_setting(
    site: Any, settings: Any, expected: Any
) -> None:
    need("django_extensions")
    found = site.run("tools", ["django_extensions"], replicas=True, what="extensions", **settings)
    assert found == expected
