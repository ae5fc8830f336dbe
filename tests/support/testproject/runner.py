"""A test runner that has connections when it forks its workers."""

from collections.abc import Iterable
from typing import Any

from django.db import connections
from django.test.runner import DiscoverRunner


class Runner(DiscoverRunner):
    def run_checks(self, databases: Iterable[str]) -> Any:
        """Use every database after it was cloned, as checks and serialized data do."""
        result = super().run_checks(databases)
        for alias in databases:
            connections[alias].ensure_connection()
            if connections[alias].settings_dict["TEST"]["MIRROR"]:
                # Leave it idle: who drops a database closes the connections of its alias only.
                connections[alias].close()
        return result
