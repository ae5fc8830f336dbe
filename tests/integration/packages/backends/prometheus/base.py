"""The documented recipe on django-prometheus."""

from django_prometheus.db.backends.postgresql import base

from django_poolrouter.backends.mixin import PooledDatabaseWrapper


class DatabaseWrapper(PooledDatabaseWrapper, base.DatabaseWrapper):
    pass
