"""The documented recipe on django-tenants."""

from django_tenants.postgresql_backend import base

from django_poolrouter.backends.mixin import PooledDatabaseWrapper


class DatabaseWrapper(PooledDatabaseWrapper, base.DatabaseWrapper):
    own_settings = ("search_path",)
