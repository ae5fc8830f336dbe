"""manage.py dumpdata: refuses a replica, where Django would write an empty list."""

from __future__ import annotations

from typing import Any

from django.core.management.commands import dumpdata

from django_poolrouter.management.refuse_replica import refuse_replica


class Command(dumpdata.Command):
    """Django's command, except that it refuses replicas."""

    def handle(self, *app_labels: str, **options: Any) -> Any:
        """Refuse a replica, or do what Django does."""
        refuse_replica(using=options["database"])
        return super().handle(*app_labels, **options)
