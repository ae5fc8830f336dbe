"""The app that connects the signals."""

from __future__ import annotations

from django.apps import AppConfig


class PoolRouterCeleryConfig(AppConfig):
    """Scopes for Celery's tasks."""

    name = "django_poolrouter.contrib.celery"
    label = "poolrouter_celery"
    verbose_name = "Database routing for Celery"

    def ready(self) -> None:
        """Have Celery tell when tasks are sent, start and end."""
        from .hooks import connect

        connect()
