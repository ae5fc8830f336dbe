"""Placing an order: the one act of the shop that writes to both clusters."""

from django.db import transaction

from example_project.catalogue.models import Product
from example_project.orders.models import Order, OrderLine


class OutOfStock(Exception):
    """The shop has fewer pieces than the customer wants; its text says how many."""


def place_order(*, product_id: int, quantity: int, customer: str, email: str) -> Order:
    """Take `quantity` pieces from the stock and record the order, or do neither.

    Two databases cannot commit as one. The order commits first, inside the transaction of the
    stock: if it fails, the stock is given back. What remains is a crash between the two commits,
    and the order survives it, with its pieces still counted as in stock.

    Raises OutOfStock, and Product.DoesNotExist.
    """
    with transaction.atomic(using="default"):
        product = _take_from_stock(product_id, quantity)
        with transaction.atomic(using="orders"):
            order = Order.objects.create(customer=customer, email=email)
            OrderLine.objects.create(
                order=order,
                product_id=product.pk,
                product_name=product.name,
                unit_price=product.price,
                quantity=quantity,
            )
    return order


def _take_from_stock(product_id: int, quantity: int) -> Product:
    """Lock the row, so that two customers cannot buy the last piece; it comes from the primary."""
    product = Product.objects.select_for_update().get(pk=product_id)
    if product.stock < quantity:
        raise OutOfStock(f"Only {product.stock} left in stock.")
    product.stock -= quantity
    product.save(update_fields=["stock"])
    return product
