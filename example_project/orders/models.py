"""What customers bought: owned by a cluster of its own.

No foreign key leaves this cluster, for no database could enforce it: a line keeps the product's
id and a snapshot of what was bought, which an order must not lose anyway.
"""

import secrets

from django.core.validators import MinValueValidator
from django.db import models
from django.urls import reverse

# Without letters and digits that people mistake for each other on the telephone.
ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"


def new_reference() -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(10))


class Order(models.Model):
    class Status(models.TextChoices):
        PLACED = "placed"
        SHIPPED = "shipped"
        CANCELLED = "cancelled"

    reference = models.CharField(max_length=10, unique=True, default=new_reference)
    customer = models.CharField(max_length=60)
    email = models.EmailField()
    status = models.CharField(max_length=10, choices=Status, default=Status.PLACED)
    placed_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-placed_at", "-pk"]

    def __str__(self) -> str:
        return self.reference

    def get_absolute_url(self) -> str:
        return reverse("orders:order", args=[self.reference])

    @property
    def total(self):
        return sum(line.total for line in self.lines.all())


class OrderLine(models.Model):
    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="lines")
    product_id = models.PositiveBigIntegerField(db_index=True)
    product_name = models.CharField(max_length=100)
    unit_price = models.DecimalField(max_digits=8, decimal_places=2)
    quantity = models.PositiveIntegerField(validators=[MinValueValidator(1)])

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.quantity} x {self.product_name}"

    @property
    def total(self):
        return self.unit_price * self.quantity
