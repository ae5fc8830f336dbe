"""What a function sets stays for its own request, if PostgreSQL reports the setting."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection

from django_poolrouter import pools
from tests.conftest import Vendor


def ask(sql: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0] if cursor.description else None


@pytest.mark.parametrize("hold", ["request", "transaction"])
def test_time_zone_set_by_a_function__lasts_to_the_end_of_the_request(
    use_databases: Any, postgresql_database: dict[str, str], hold: str
) -> None:
    pool = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0, "hold": hold}
    use_databases({"default": Vendor("postgresql", postgresql_database).database(pool)})
    ask(
        "CREATE OR REPLACE FUNCTION go_to_tokyo() RETURNS text LANGUAGE SQL AS"
        " 'SELECT set_config(''TimeZone'', ''Asia/Tokyo'', false)'"
    )
    before = ask("SHOW TimeZone")
    ask("SELECT go_to_tokyo()")
    assert ask("SHOW TimeZone") == "Asia/Tokyo"
    connection.close()
    assert ask("SHOW TimeZone") == before
    connection.close()
    assert pools["default"].status().marked == 1
