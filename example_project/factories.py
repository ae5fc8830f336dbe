"""What the tests of the apps share."""

from decimal import Decimal
from typing import Any

from django.http import HttpResponse
from django.utils.text import slugify

from example_project.catalogue.models import Category, Product

# What a TestCase declares: it reads in its transaction, and so never from a replica. ("__all__"
# would have Django check the constraints through the replicas too, which waits for a lock that
# the transaction holds, where both are one SQLite database in memory.)
PRIMARIES = {"default", "orders"}


def make_product(name: str = "Silent Pump", *, category: str = "Pumps", **fields: Any) -> Product:
    group, _ = Category.objects.get_or_create(slug=slugify(category), defaults={"name": category})
    fields = {"price": Decimal("10.50"), "stock": 5} | fields
    return Product.objects.create(category=group, name=name, slug=slugify(name), **fields)


def aliases(response: HttpResponse, header: str) -> set[str]:
    """Return the aliases that a header of `trace.py` names."""
    shares = response.get(header, "")
    return {share.split("=")[0] for share in shares.split(", ") if share}
