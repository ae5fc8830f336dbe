"""A tree of django-mptt."""

from __future__ import annotations

from typing import Any

from django.db import models
from mptt.models import MPTTModel, TreeForeignKey


class Place(MPTTModel):
    name = models.CharField(max_length=20, unique=True)
    parent: Any = TreeForeignKey(
        "self", on_delete=models.CASCADE, null=True, blank=True, related_name="children"
    )

    def __str__(self) -> str:
        return self.name
