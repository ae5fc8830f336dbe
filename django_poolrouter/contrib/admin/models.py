"""What the admin asks for before it lists a page: a model, here without a table."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class NoRows(models.Manager["Pools"]):
    """Is asked for rows by `dumpdata`, which does not care that there is no table."""

    def get_queryset(self) -> models.QuerySet[Pools]:
        return super().get_queryset().none()


class Pools(models.Model):  # noqa: DJ008, it has no rows
    """Carries the permission ``poolrouter_admin.view_pools`` and the entry in the admin."""

    objects = NoRows()

    class Meta:
        managed = False
        base_manager_name = "objects"
        default_permissions = ("view",)
        verbose_name = verbose_name_plural = _("connection pools")
