"""PostgreSQL, pooled."""

from __future__ import annotations

from django.db.backends.postgresql import base
from django.db.backends.postgresql.psycopg_any import is_psycopg3

from ..mixin import PooledDatabaseWrapper

if is_psycopg3:
    from .driver import PsycopgDriver

    __all__ = ["DatabaseWrapper", "PsycopgDriver"]


class DatabaseWrapper(PooledDatabaseWrapper, base.DatabaseWrapper):
    """Django's PostgreSQL backend with our pool instead of psycopg_pool's."""

    parameters_are_facts = True
