"""Places on the map."""

from django.contrib.gis.db import models


class Place(models.Model):
    name = models.CharField(max_length=20)
    pt = models.PointField(srid=32140)  # South Texas, so that the database must transform
