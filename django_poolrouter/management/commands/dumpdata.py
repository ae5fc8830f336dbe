"""manage.py dumpdata: refuses a replica, where Django would write an empty list."""

from __future__ import annotations

from typing import Any

from django_poolrouter.management.behind import RefusesReplica, command_behind

Behind: Any = command_behind("dumpdata")


class Command(RefusesReplica, Behind):  # type: ignore[misc]  # known only at run time
    """The usual command, except that it refuses replicas."""
