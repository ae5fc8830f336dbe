"""Orders, a whole app on the second cluster."""

from django.db import models


class Order(models.Model):
    number = models.PositiveIntegerField()

    def __str__(self) -> str:
        return str(self.number)


class Line(models.Model):
    order = models.ForeignKey(Order, models.CASCADE, related_name="lines")
    text = models.CharField(max_length=50)

    def __str__(self) -> str:
        return self.text
