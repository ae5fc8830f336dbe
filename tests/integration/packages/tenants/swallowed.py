"""A view swallows an error of the database inside a block, so that its SET is undone."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from tests.integration.packages.tenants import project
from tests.integration.packages.tenants.visits import owner


def main() -> dict[str, Any]:
    order = project.order()
    project.set_up(order)
    from django.db import DatabaseError, connection, transaction

    before, tenant = order["tenants"]
    connection.set_schema(before)
    assert owner() == before
    connection.close()
    connection.set_schema(tenant)
    with transaction.atomic(), contextlib.suppress(DatabaseError), connection.cursor() as cursor:
        cursor.execute("SELECT 1 / 0")
    # The server has rolled back, and django-tenants has not noticed.
    return {"seen": owner()}


if __name__ == "__main__":
    print(json.dumps(main()))
