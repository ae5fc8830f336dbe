"""Which models are never read from a replica: those that ALWAYS_PRIMARY names, and its default."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

# The classes of these packages have rows that must not be old.  A subclass counts too, because
# some packages let a project swap their model for one of its own.
SESSIONS = (
    "django.contrib.sessions",
    "user_sessions",
)
"""Packages whose models hold sessions: written by one request, and read by the next."""
PACKAGES = (
    # Rows that are made where you expect a read, or read back at once.
    *("django.contrib.contenttypes", "django.contrib.admin", "django.core.cache.backends.db"),
    # Queues of jobs and mails.
    *("background_task", "django_dramatiq", "django_q", "django_tasks.backends.database"),
    *("django_tasks_db", "post_office", "procrastinate.contrib.django"),
    # Schedulers, and the results that their callers wait for.
    *("django_apscheduler", "django_celery_beat", "django_celery_results"),
    # Locks, and switches that must act at once.
    *("axes", "db_mutex", "constance", "flags", "waffle"),
)
"""Packages whose rows decide what happens next, so that an old row does harm."""

WITHOUT_APP = frozenset({"sessions", "contenttypes", "admin.logentry", "django_cache"})
"""Labels that may be named although no app has them: the default of versions before 0.2, and the
label of the database cache."""


def belongs_to(model: type, packages: Iterable[str]) -> bool:
    """Tell whether a model or one of its base classes is defined in one of the packages."""
    modules = {f"{each.__module__}." for each in model.__mro__}
    return any(module.startswith(f"{package}.") for module in modules for package in packages)


def labels(value: Any) -> frozenset[str]:
    """Accept app labels and models; return them with the models' names in lower case."""
    listed = isinstance(value, Iterable) and not isinstance(value, str)
    if not listed or not all(isinstance(label, str) for label in value):
        raise ValueError(
            "must be a list of app labels and models", 'For example ["orders", "billing.Invoice"].'
        )
    return frozenset(label.lower() if "." in label else label for label in value)


@dataclass(frozen=True, slots=True)
class AlwaysPrimary:
    """What a project's ALWAYS_PRIMARY adds to the default and takes away from it.

    Args:
        named: app labels and models that are never read from a replica.
        removed: those that are, although they are in the default or their app is named.

    """

    named: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, value: Any) -> AlwaysPrimary:
        """Accept a list of app labels and models; a ``!`` before one removes it."""
        given = labels(value)
        removed = frozenset(label[1:] for label in given if label.startswith("!"))
        named = frozenset(label for label in given if not label.startswith("!"))
        both = sorted(named & removed)
        if both:
            raise ValueError(f"names both {both[0]!r} and '!{both[0]}'", "Keep one of them.")
        return cls(named, removed)

    def rule(self, app_label: str, model_name: str) -> bool | None:
        """Tell whether the project names or removes a model; None if it says nothing of it.

        An entry for the model counts more than one for its app.
        """
        for label in (f"{app_label}.{model_name}".lower(), app_label):
            if label in self.named or label in self.removed:
                return label in self.named
        return None
