"""Of this app the second cluster owns `Invoice` and `Label`; `Tariff` lives on `default`."""

from django.db import models


class Tariff(models.Model):
    name = models.CharField(max_length=50)

    def __str__(self) -> str:
        return self.name


class Label(models.Model):
    name = models.CharField(max_length=50)

    def __str__(self) -> str:
        return self.name


class Invoice(models.Model):
    number = models.PositiveIntegerField()
    labels = models.ManyToManyField(Label, related_name="invoices")

    def __str__(self) -> str:
        return str(self.number)


class Receipt(Invoice):
    class Meta:
        proxy = True
