"""manage.py loaddata: refuses a replica, where Django would load nothing."""

from __future__ import annotations

from typing import Any

from django_poolrouter.management.behind import command_behind
from django_poolrouter.management.refuse_replica import refuse_replica
from django_poolrouter.router import using_primary

Behind: Any = command_behind("loaddata")


class Command(Behind):  # type: ignore[misc]  # known only at run time
    """The usual command, except that it refuses replicas and reads from primaries."""

    @using_primary
    def handle(self, *args: Any, **options: Any) -> Any:
        """Refuse a replica, or do what the usual command does."""
        refuse_replica(using=options["database"])
        return super().handle(*args, **options)
