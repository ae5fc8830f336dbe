"""Finds the command that would run if this package had none of that name, and adds to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.apps import apps
from django.core.management import find_commands, load_command_class

from ..router import using_primary
from .refuse_replica import refuse_replica


def command_behind(name: str) -> Any:
    """Return the class of a command of the apps after ours in INSTALLED_APPS, else Django's.

    Of two apps with a command of the same name, Django runs that of the first.  So ours adds to
    the next one, for example to ``migrate`` of django-tenants.
    """
    configs = list(apps.get_app_configs())
    ours = next(place for place, each in enumerate(configs) if each.label == "poolrouter")
    for config in configs[ours + 1 :]:
        if name in find_commands(str(Path(config.path) / "management")):
            return type(load_command_class(config.name, name))
    return type(load_command_class("django.core", name))


class RefusesReplica:
    """Lets a command refuse replicas."""

    def handle(self, *args: Any, **options: Any) -> Any:
        """Refuse a replica, or do what the command behind does."""
        refuse_replica(using=options["database"])
        return super().handle(*args, **options)  # type: ignore[misc]  # of the command behind


class ReadsPrimary:
    """Lets all reads of a command go to primaries, because no replica has a new table at once."""

    @using_primary
    def handle(self, *args: Any, **options: Any) -> Any:
        """Do what the command behind does."""
        return super().handle(*args, **options)  # type: ignore[misc]  # of the command behind
