"""Creates and drops the test databases of pooled backends."""

from __future__ import annotations

from typing import Any

from ... import conf
from ...process.registry import registry
from .state import WrapperState


class PooledCreation:
    """Closes all idle connections before a test database is created, cloned or dropped.

    Each of these needs a database without connections.  The idle ones may also belong to the
    alias of a replica that the tests point at the same database.
    """

    connection: WrapperState

    def _create_test_db(self, *args: Any, **kwargs: Any) -> Any:
        registry.dispose_all()
        return super()._create_test_db(*args, **kwargs)  # type: ignore[misc]

    def _clone_test_db(self, *args: Any, **kwargs: Any) -> Any:
        registry.dispose_all()
        return super()._clone_test_db(*args, **kwargs)  # type: ignore[misc]

    def _destroy_test_db(self, *args: Any, **kwargs: Any) -> Any:
        registry.dispose_all()
        return super()._destroy_test_db(*args, **kwargs)  # type: ignore[misc]

    def set_as_test_mirror(self, primary_settings_dict: dict[str, Any]) -> None:
        """Point a replica at its primary's server, not only at a database of the same name.

        A real replica would get the test database and its rows a moment too late for the
        tests.
        """
        super().set_as_test_mirror(primary_settings_dict)  # type: ignore[misc]
        for key in ("HOST", "PORT", "USER", "PASSWORD"):
            self.connection.settings_dict[key] = primary_settings_dict[key]
        self.connection.settings_dict[conf.TEST_MIRROR] = True
