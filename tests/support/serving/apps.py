"""Where a user would ask for the signal handlers."""

import os

from django.apps import AppConfig


class ServingConfig(AppConfig):
    name = "tests.support.serving"

    def ready(self) -> None:
        if "SIGNAL_HANDLERS" in os.environ:
            from django_poolrouter import PoolManager

            PoolManager.setup_signal_handlers()
