"""manage.py migrate: reads from primaries, because no replica has a new table at once."""

from __future__ import annotations

from typing import Any

from django_poolrouter.management.behind import command_behind
from django_poolrouter.router import using_primary

Behind: Any = command_behind("migrate")


class Command(Behind):  # type: ignore[misc]  # known only at run time
    """The usual command, except that all its reads go to primaries."""

    @using_primary
    def handle(self, *args: Any, **options: Any) -> Any:
        """Do what the usual command does."""
        return super().handle(*args, **options)
