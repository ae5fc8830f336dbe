"""manage.py flush: refuses a replica, where Django would find no table to empty."""

from __future__ import annotations

from typing import Any

from django_poolrouter.management.behind import ReadsPrimary, RefusesReplica, command_behind

Behind: Any = command_behind("flush")


class Command(RefusesReplica, ReadsPrimary, Behind):  # type: ignore[misc]  # known only at run time
    """The usual command, except that it refuses replicas and reads from primaries."""
