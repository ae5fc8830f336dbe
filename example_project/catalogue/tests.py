from django.core.management import call_command
from django.test import TestCase, TransactionTestCase
from django.urls import reverse

from example_project.catalogue.models import Product, Review
from example_project.factories import PRIMARIES, aliases, make_product
from example_project.orders.models import Order, OrderLine
from example_project.trace import READ, WRITE

REPLICAS = {"replica1", "replica2"}
REVIEW = {"author": "Ada", "rating": 4, "text": "Quiet and sturdy."}


class ProductListTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        make_product("Silent Pump")
        make_product("Solar Lamp", category="Lights", stock=0)

    def test_shows_products_with_stock_and_price(self):
        page = self.client.get("/")
        self.assertContains(page, "Silent Pump")
        self.assertContains(page, "€ 10.50")
        self.assertContains(page, "5 in stock")
        self.assertContains(page, "Sold out")

    def test_filters_by_category(self):
        page = self.client.get("/", {"category": "lights"})
        self.assertContains(page, "Solar Lamp")
        self.assertNotContains(page, "Silent Pump")

    def test_unknown_category_is_not_found(self):
        self.assertEqual(self.client.get("/", {"category": "boats"}).status_code, 404)

    def test_pages_keep_the_category(self):
        for number in range(12):
            make_product(f"Pump {number}")
        page = self.client.get("/", {"category": "pumps"})
        self.assertContains(page, "Page 1 of 2")
        self.assertContains(page, "?category=pumps&amp;page=2")
        self.assertContains(self.client.get("/?category=pumps&page=2"), "Silent Pump")


class ProductPageTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.product = make_product("Silent Pump")
        make_product("Royal Pump")
        make_product("Solar Lamp", category="Lights")

    def test_shows_related_products_of_its_category_alone(self):
        page = self.client.get(self.product.get_absolute_url())
        self.assertContains(page, "Royal Pump")
        self.assertNotContains(page, "Solar Lamp")

    def test_a_review_is_stored_and_shown(self):
        page = self.client.post(self.product.get_absolute_url(), REVIEW, follow=True)
        self.assertContains(page, "Thank you for your review.")
        self.assertContains(page, "Quiet and sturdy.")
        self.assertContains(page, "4.0 of 5")
        self.assertEqual(Review.objects.get().product, self.product)

    def test_a_review_out_of_range_is_refused(self):
        page = self.client.post(self.product.get_absolute_url(), REVIEW | {"rating": 6})
        self.assertContains(page, "less than or equal to 5")
        self.assertFalse(Review.objects.exists())

    def test_unknown_product_is_not_found(self):
        self.assertEqual(self.client.get("/products/none/").status_code, 404)


class SearchTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        make_product("Silent Pump")
        make_product("Solar Lamp")

    def test_finds_by_part_of_the_name(self):
        found = self.client.get(reverse("catalogue:search"), {"q": "LAMP"}).json()
        self.assertEqual([each["name"] for each in found["results"]], ["Solar Lamp"])

    async def test_finds_under_asgi(self):
        response = await self.async_client.get("/search.json?q=pump")
        self.assertEqual(response.json()["results"][0]["price"], "10.50")


class SeedTests(TestCase):
    databases = PRIMARIES

    def count(self):
        return [model.objects.count() for model in (Product, Review, Order, OrderLine)]

    def test_seeding_again_adds_only_what_is_missing(self):
        call_command("seed", products=6, verbosity=0)
        once = self.count()
        self.assertEqual(once[0], 6)
        self.assertEqual(once[2], 3)
        call_command("seed", products=6, verbosity=0)
        self.assertEqual(self.count(), once)
        call_command("seed", products=8, verbosity=0)
        self.assertEqual(Product.objects.count(), 8)


class RoutingTests(TransactionTestCase):
    """Where the pages' statements really run; a TestCase would read from the primary alone."""

    databases = "__all__"

    def setUp(self):
        self.product = make_product()
        self.page = self.product.get_absolute_url()

    def test_pages_are_read_from_the_replicas(self):
        for page in ("/", self.page, "/search.json?q=pump"):
            response = self.client.get(page)
            self.assertLessEqual(aliases(response, READ), REPLICAS, page)
            self.assertTrue(aliases(response, READ), page)
            self.assertFalse(aliases(response, WRITE), page)

    def test_every_replica_gets_its_share(self):
        responses = [self.client.get(self.page) for _ in range(6)]
        self.assertEqual(set().union(*(aliases(each, READ) for each in responses)), REPLICAS)

    async def test_an_async_page_is_read_from_a_replica(self):
        response = await self.async_client.get("/search.json?q=pump")
        self.assertEqual(len(response.json()["results"]), 1)
        self.assertLessEqual(aliases(response, READ), REPLICAS)
        self.assertTrue(aliases(response, READ))

    def test_who_wrote_sees_it_and_others_read_from_the_replicas(self):
        response = self.client.post(self.page, REVIEW)
        self.assertEqual(response[WRITE], "default=1")
        own = self.client.get(self.page)
        self.assertContains(own, REVIEW["text"])
        # From the primary, or from a replica that has it by now.
        self.assertTrue(aliases(own, READ))
        other = self.client_class().get(self.page)
        self.assertLessEqual(aliases(other, READ), REPLICAS)
