"""The app: an entry "Connection pools" in the admin."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class PoolAdminConfig(AppConfig):
    """The admin page; an app of its own, so that projects without the admin load no model."""

    name = "django_poolrouter.contrib.admin"
    label = "poolrouter_admin"
    verbose_name = _("Databases")
    default_auto_field = "django.db.models.BigAutoField"
