"""The model that the admin needs to list the page.  It has no table."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class NoRows(models.Manager["Pools"]):
    """Returns no rows.  Without this, ``dumpdata`` would query a table that does not exist."""

    def get_queryset(self) -> models.QuerySet[Pools]:
        return super().get_queryset().none()


class Pools(models.Model):  # noqa: DJ008, it has no rows
    """Gives the page its permission, ``poolrouter_admin.view_pools``, and its admin entry."""

    objects = NoRows()

    class Meta:
        managed = False
        base_manager_name = "objects"
        default_permissions = ("view",)
        verbose_name = verbose_name_plural = _("connection pools")
