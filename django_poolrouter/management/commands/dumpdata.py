"""manage.py dumpdata: refuses a replica, where Django would write an empty list."""

from __future__ import annotations

from typing import Any

from django_poolrouter.management.behind import command_behind
from django_poolrouter.management.refuse_replica import refuse_replica

Behind: Any = command_behind("dumpdata")


class Command(Behind):  # type: ignore[misc]  # known only at run time
    """The usual command, except that it refuses replicas."""

    def handle(self, *app_labels: str, **options: Any) -> Any:
        """Refuse a replica, or do what the usual command does."""
        refuse_replica(using=options["database"])
        return super().handle(*app_labels, **options)
