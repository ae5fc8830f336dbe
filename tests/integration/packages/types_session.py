"""A process learns types of PostgreSQL in its requests, on connections of a pool."""

from __future__ import annotations

import json
import sys
from enum import Enum, auto
from typing import Any

from psycopg.types.enum import EnumInfo, register_enum
from psycopg.types.numeric import FloatLoader
from psycopg.types.string import StrDumper


class Mood(Enum):
    sad = auto()
    happy = auto()


def set_up(order: dict[str, Any]) -> None:
    import django
    from django.conf import settings

    settings.configure(
        SECRET_KEY="only-for-tests",
        DATABASES={"default": order["entry"]},
        INSTALLED_APPS=["django_poolrouter", *order["apps"]],
        USE_TZ=True,
    )
    django.setup()


def ask(sql: str, *params: Any) -> Any:
    """Return one value in a request of its own."""
    from django.db import connection

    try:
        with connection.cursor() as cursor:
            cursor.execute(sql, params or None)
            return cursor.fetchone()[0]
    finally:
        connection.close()


def learn() -> None:
    """Do what a migration with Django's operations does, and register an enum."""
    from django.contrib.postgres.operations import CITextExtension, HStoreExtension
    from django.db import connection
    from django.db.migrations.state import ProjectState

    state = ProjectState()
    with connection.schema_editor() as editor:
        HStoreExtension().database_forwards("app", editor, state, state)
        CITextExtension().database_forwards("app", editor, state, state)
    connection.close()
    with connection.cursor() as cursor:
        cursor.execute("CREATE TYPE mood AS ENUM ('sad', 'happy')")
        raw = connection.connection
        register_enum(EnumInfo.fetch(raw, "mood"), raw, Mood)
    connection.close()


def override() -> Any:
    """Let a user of the connection see built-in types in a way of its own."""
    from django.db import connection

    with connection.cursor() as cursor:
        raw = connection.connection
        raw.adapters.register_loader("numeric", FloatLoader)
        raw.adapters.register_dumper(complex, StrDumper)
        found = raw.execute("SELECT 1.5::numeric").fetchone()[0]
        cursor.execute("SELECT 1")
    connection.close()
    return type(found).__name__


def dumps_complex() -> bool:
    from django.db import connection
    from psycopg import ProgrammingError

    connection.ensure_connection()
    try:
        connection.connection.execute("SELECT %s", [1j])
    except ProgrammingError:
        return False
    finally:
        connection.close()
    return True


def main() -> dict[str, Any]:
    order = json.loads(sys.argv[1])
    set_up(order)
    pid = ask("SELECT pg_backend_pid()")
    learn()
    overridden = override()
    seen = [
        [
            repr(ask("SELECT 'a=>1'::hstore")),
            repr(ask("SELECT ARRAY['Aa'::citext]")),
            repr(ask("SELECT 'happy'::mood")),
            repr(ask("SELECT %s::text", Mood.sad)),
            type(ask("SELECT 1.5::numeric")).__name__,
            dumps_complex(),
        ]
        for _ in range(3)
    ]
    same = pid == ask("SELECT pg_backend_pid()")
    return {"overridden": overridden, "seen": seen, "same connection": same}


if __name__ == "__main__":
    print(json.dumps(main()))
