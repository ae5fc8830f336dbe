"""The app that adds the entry "Connection pools" to the admin."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class PoolAdminConfig(AppConfig):
    """The admin page.  It is a separate app, so that projects without the admin load no model."""

    name = "django_poolrouter.contrib.admin"
    label = "poolrouter_admin"
    verbose_name = _("Databases")
    default_auto_field = "django.db.models.BigAutoField"
