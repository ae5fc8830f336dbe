"""The documented recipe on PostGIS."""

from django.contrib.gis.db.backends.postgis import base

from django_poolrouter.backends.mixin import PooledDatabaseWrapper


class DatabaseWrapper(PooledDatabaseWrapper, base.DatabaseWrapper):
    pass
