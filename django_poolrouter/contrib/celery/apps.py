"""The app that connects Celery's signals."""

from __future__ import annotations

from django.apps import AppConfig


class PoolRouterCeleryConfig(AppConfig):
    """Gives Celery's tasks their scopes."""

    name = "django_poolrouter.contrib.celery"
    label = "poolrouter_celery"
    verbose_name = "Database routing for Celery"

    def ready(self) -> None:
        """Connect the signals that Celery sends when a task is sent, starts and ends."""
        from .hooks import connect

        connect()
