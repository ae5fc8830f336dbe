"""manage.py seed: fill both clusters of the shop."""

from collections.abc import Iterable
from decimal import Decimal
from random import Random
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction
from django.db.models import Model
from django.utils.text import slugify

from example_project.catalogue.models import Category, Product, Review, Tag
from example_project.orders.models import Order, OrderLine

CATEGORIES = {"Pumps": "Pump", "Filters": "Filter", "Lights": "Lamp", "Floats": "Float"}
ADJECTIVES = ["Silent", "Solar", "Compact", "Royal", "Floating", "Everlasting"]
TAGS = ["bestseller", "eco", "new", "sale"]
PEOPLE = ["Ada", "Barbara", "Edsger", "Grace", "Ken", "Margaret", "Niklaus", "Radia"]
OPINIONS = ["Does what it says.", "The water was never clearer.", "Quiet and sturdy.", "Too small."]


class Command(BaseCommand):
    help = "Fill the catalogue and the orders. Run again, it adds only what is missing."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--products", type=int, default=60, help="how many (default 60)")

    def handle(self, *, products: int, verbosity: int, **_: Any) -> None:
        # One transaction a cluster; inside it, reads see the primary, not a replica's past.
        with transaction.atomic(using="default"):
            new_products = seed_catalogue(products)
            stocked = list(Product.objects.order_by("pk")[:products])
        with transaction.atomic(using="orders"):
            new_orders = seed_orders(stocked)
        if verbosity:
            self.stdout.write(f"Added {new_products} products and {new_orders} orders.")


def seed_catalogue(count: int) -> int:
    categories = [
        Category.objects.get_or_create(slug=slugify(name), defaults={"name": name})[0]
        for name in CATEGORIES
    ]
    tags = [Tag.objects.get_or_create(name=name)[0] for name in TAGS]
    known = set(Product.objects.values_list("slug", flat=True))
    wanted = (product(number, categories) for number in range(1, count + 1))
    products = saved(Product, [each for each in wanted if each.slug not in known], "slug")
    Product.tags.through.objects.bulk_create(
        Product.tags.through(product=each, tag=tag)
        for each in products
        for tag in Random(each.slug).sample(tags, k=2)
    )
    Review.objects.bulk_create(review for each in products for review in reviews(each))
    return len(products)


def seed_orders(products: list[Product]) -> int:
    known = set(Order.objects.values_list("reference", flat=True))
    wanted = (order(number) for number in range(1, len(products) // 2 + 1))
    orders = saved(Order, [each for each in wanted if each.reference not in known], "reference")
    OrderLine.objects.bulk_create(line for each in orders for line in lines(each, products))
    return len(orders)


def saved(model: type[Model], objects: list[Model], key: str) -> list:
    """Save them all and return them with their ids, which not every vendor's INSERT tells."""
    model.objects.bulk_create(objects)
    return list(model.objects.filter(**{f"{key}__in": [getattr(each, key) for each in objects]}))


def product(number: int, categories: list[Category]) -> Product:
    random = Random(number)
    category = categories[number % len(categories)]
    name = f"{random.choice(ADJECTIVES)} {CATEGORIES[category.name]} {100 + number}"
    return Product(
        category=category,
        name=name,
        slug=slugify(name),
        description=f"{name} keeps your pool in shape, summer after summer.",
        price=Decimal(random.randint(499, 39_999)) / 100,
        stock=0 if number % 17 == 5 else random.randint(100, 900),
    )


def reviews(product: Product) -> Iterable[Review]:
    random = Random(product.slug)
    for author in random.sample(PEOPLE, k=random.randint(0, 5)):
        rating, text = random.randint(2, 5), random.choice(OPINIONS)
        yield Review(product=product, author=author, rating=rating, text=text)


def order(number: int) -> Order:
    customer = PEOPLE[number % len(PEOPLE)]
    email = f"{customer.lower()}@example.com"
    return Order(reference=f"SEED{number:06}", customer=customer, email=email)


def lines(order: Order, products: list[Product]) -> Iterable[OrderLine]:
    random = Random(order.reference)
    for each in random.sample(products, k=min(len(products), random.randint(1, 3))):
        yield OrderLine(
            order=order,
            product_id=each.pk,
            product_name=each.name,
            unit_price=each.price,
            quantity=random.randint(1, 4),
        )
