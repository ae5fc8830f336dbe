"""manage.py loaddata: refuses a replica, where Django would load nothing."""

from __future__ import annotations

from typing import Any

from django_poolrouter.management.behind import ReadsPrimary, RefusesReplica, command_behind

Behind: Any = command_behind("loaddata")


class Command(RefusesReplica, ReadsPrimary, Behind):  # type: ignore[misc]  # known only at run time
    """The usual command, except that it refuses replicas and reads from primaries."""
