"""manage.py createcachetable: reads from primaries."""

from __future__ import annotations

from typing import Any

from django_poolrouter.management.behind import ReadsPrimary, command_behind

Behind: Any = command_behind("createcachetable")


class Command(ReadsPrimary, Behind):  # type: ignore[misc]  # known only at run time
    """The usual command, except that all its reads go to primaries."""
