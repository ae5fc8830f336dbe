"""Tests of what the whole shop shares: the admin, the trace and the health endpoint."""

from importlib.util import find_spec
from unittest import skipUnless

from django.apps import apps
from django.conf import settings
from django.contrib.admin import site
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.test import SimpleTestCase, TestCase, TransactionTestCase
from django.urls import reverse

from django_poolrouter.contrib.admin.models import Pools
from example_project.factories import PRIMARIES, make_product
from example_project.orders.models import Order
from example_project.orders.placing import place_order
from example_project.trace import READ, WRITE, kind_of


class AdminTests(TestCase):
    databases = PRIMARIES

    def setUp(self):
        self.client.force_login(get_user_model().objects.create_superuser("admin"))
        product = make_product()
        place_order(product_id=product.pk, quantity=1, customer="Ada", email="ada@example.com")

    def test_every_model_has_a_working_list_and_form(self):
        for model in set(site._registry) - {Group, Pools}:
            options = model._meta
            name = f"admin:{options.app_label}_{options.model_name}"
            self.assertEqual(self.client.get(reverse(f"{name}_changelist")).status_code, 200)
            self.assertEqual(self.client.get(reverse(f"{name}_add")).status_code, 200)

    def test_the_page_of_connection_pools_lists_every_pool(self):
        response = self.client.get(reverse("admin:poolrouter_admin_pools_changelist"))
        for alias in settings.DATABASES:
            self.assertContains(response, f'data-key="{alias}"')

    def test_an_order_can_be_deleted_with_its_lines(self):
        order = Order.objects.get()
        url = reverse("admin:orders_order_delete", args=[order.pk])
        self.client.post(url, {"post": "yes"})
        self.assertFalse(Order.objects.exists())


@skipUnless(apps.is_installed("health_check"), "django-health-check is an extra")
class HealthTests(TransactionTestCase):
    """The checks connect in threads of their own, where no transaction of a test is seen."""

    databases = "__all__"

    def test_every_alias_is_healthy(self):
        response = self.client.get("/health/", {"format": "json"})
        self.assertEqual(response.status_code, 200, response.content)
        self.assertEqual(list(response.json().values()), ["OK"] * len(settings.DATABASES))
        self.assertContains(self.client.get("/health/"), "orders_replica1")


@skipUnless(find_spec("prometheus_client"), "prometheus_client is an extra")
class MetricsTests(SimpleTestCase):
    def test_every_alias_has_metrics(self):
        response = self.client.get("/metrics")
        for alias in settings.DATABASES:
            self.assertContains(response, f'db_client_connection_max{{alias="{alias}"')


class TraceTests(SimpleTestCase):
    def test_statements_are_judged_by_their_first_word(self):
        for sql, kind in [
            ("SELECT 1", READ),
            ("  (select 1) UNION (select 2)", READ),
            ("INSERT INTO t VALUES (1)", WRITE),
            ("update t SET x = 1", WRITE),
            ("DELETE FROM t", WRITE),
            ("SAVEPOINT s1", None),
            ("BEGIN IMMEDIATE", None),
            ("", None),
        ]:
            self.assertEqual(kind_of(sql), kind, sql)
