"""The mixin of django-prometheus before our backend, as its own backends have it."""

from typing import Any

from django_prometheus.db.common import DatabaseWrapperMixin, ExportingCursorWrapper

from django_poolrouter.backends.postgresql import base


class DatabaseWrapper(DatabaseWrapperMixin, base.DatabaseWrapper):
    def get_connection_params(self) -> dict[str, Any]:
        params = super().get_connection_params()
        params["cursor_factory"] = ExportingCursorWrapper(
            params["cursor_factory"], self.alias, self.vendor
        )
        return params

    def create_cursor(self, name: str | None = None) -> Any:
        return base.DatabaseWrapper.create_cursor(self, name=name)
