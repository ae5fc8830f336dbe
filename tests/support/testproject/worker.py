"""What a Celery worker of the project imports."""

import django

django.setup()

from .tasks import app  # noqa: E402

__all__ = ["app"]
