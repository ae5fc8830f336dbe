from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from threading import Barrier
from unittest.mock import patch

from django.db import DatabaseError, connections
from django.test import TestCase, TransactionTestCase, skipUnlessDBFeature
from django.urls import reverse

from example_project.factories import PRIMARIES, aliases, make_product
from example_project.orders.models import Order, OrderLine
from example_project.orders.placing import OutOfStock, place_order
from example_project.trace import READ, WRITE

CUSTOMER = {"customer": "Ada", "email": "ada@example.com"}


class OrderPagesTests(TestCase):
    databases = PRIMARIES

    def setUp(self):
        self.product = make_product(stock=5)
        self.page = reverse("orders:buy", args=[self.product.slug])

    def test_an_order_takes_the_stock_and_is_shown(self):
        page = self.client.post(self.page, CUSTOMER | {"quantity": 2}, follow=True)
        self.assertContains(page, "Thank you for your order.")
        self.assertContains(page, "€ 21.00")
        self.product.refresh_from_db()
        self.assertEqual(self.product.stock, 3)
        self.assertContains(self.client.get("/orders/"), Order.objects.get().reference)

    def test_more_than_the_stock_is_refused(self):
        page = self.client.post(self.page, CUSTOMER | {"quantity": 6})
        self.assertContains(page, "Only 5 left in stock.")
        self.assertFalse(Order.objects.exists())

    def test_an_invalid_form_is_shown_again(self):
        page = self.client.post(self.page, {"quantity": 0, "email": "ada"})
        self.assertContains(page, "Enter a valid email address.")
        self.assertFalse(Order.objects.exists())

    def test_a_line_keeps_the_price_of_its_day(self):
        order = place_order(product_id=self.product.pk, quantity=1, **CUSTOMER)
        self.product.price = Decimal("99.00")
        self.product.save()
        self.assertContains(self.client.get(order.get_absolute_url()), "€ 10.50")

    def test_an_order_that_fails_gives_the_stock_back(self):
        failing = patch.object(OrderLine.objects, "create", side_effect=DatabaseError)
        with failing, self.assertRaises(DatabaseError):
            place_order(product_id=self.product.pk, quantity=2, **CUSTOMER)
        self.product.refresh_from_db()
        self.assertEqual(self.product.stock, 5)
        self.assertFalse(Order.objects.exists())


class RoutingTests(TransactionTestCase):
    """Each cluster on its own: `orders` has another primary and another replica."""

    databases = "__all__"

    def test_an_order_is_written_to_both_primaries_and_read_back_at_once(self):
        product = make_product()
        page = reverse("orders:buy", args=[product.slug])
        response = self.client.post(page, CUSTOMER | {"quantity": 1})
        self.assertEqual(response[WRITE], "default=1, orders=2")
        order = self.client.get(response["Location"])
        self.assertContains(order, "Silent Pump")
        # From the primary, or from a replica that has it by now.
        self.assertTrue(aliases(order, READ))

    def test_orders_are_read_from_their_own_replica(self):
        Order.objects.create(**CUSTOMER)
        response = self.client.get("/orders/")
        self.assertContains(response, "Ada")
        self.assertEqual(aliases(response, READ), {"orders_replica1"})

    @skipUnlessDBFeature("has_select_for_update")
    def test_the_last_piece_is_sold_once(self):
        product = make_product(stock=1)
        together = Barrier(2)

        def buy(_):
            try:
                together.wait()
                return place_order(product_id=product.pk, quantity=1, **CUSTOMER)
            except OutOfStock as error:
                return error
            finally:
                connections.close_all()

        with ThreadPoolExecutor(2) as threads:
            results = list(threads.map(buy, range(2)))
        self.assertCountEqual([type(each) for each in results], [Order, OutOfStock])
