"""Places on the map."""

from django.contrib.gis.db import models


class Place(models.Model):
    name = models.CharField(max_length=20)
    pt = models.PointField()
