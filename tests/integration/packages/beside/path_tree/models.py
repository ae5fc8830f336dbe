"""A tree of django-treebeard."""

from django.db import models
from treebeard.mp_tree import MP_Node


class Topic(MP_Node):
    name = models.CharField(max_length=20, unique=True)

    def __str__(self) -> str:
        return self.name
