"""Test databases behind a pool."""

from __future__ import annotations

from typing import Any

from ... import conf
from ...process.registry import registry
from .state import WrapperState


class PooledCreation:
    """Closes idle connections where a test database is made, copied or dropped.

    Each of these needs that nobody is connected, be it under this alias or under that of
    a replica which the tests point at the same database.
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
        """Point a replica at its primary's server, not only at the database of that name.

        A real replica would have the test database a little later than the tests, and so
        each of their rows.
        """
        super().set_as_test_mirror(primary_settings_dict)  # type: ignore[misc]
        for key in ("HOST", "PORT", "USER", "PASSWORD"):
            self.connection.settings_dict[key] = primary_settings_dict[key]
        self.connection.settings_dict[conf.TEST_MIRROR] = True
