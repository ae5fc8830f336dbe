"""The default admin site, one as users make them, metrics, and a page that is work."""

from __future__ import annotations

from django.contrib import admin
from django.db import connections
from django.http import HttpRequest, HttpResponse
from django.urls import path

from django_poolrouter.contrib.admin.admin import PoolsAdmin
from django_poolrouter.contrib.admin.models import Pools
from django_poolrouter.contrib.prometheus import metrics
from tests.support.testapp.orders.models import Order

own_site = admin.AdminSite(name="own")
own_site.register(Pools, PoolsAdmin)


def work(request: HttpRequest, milliseconds: int) -> HttpResponse:
    """Keep a connection to the primary busy, and read from a replica.

    In this order: callers wait for the primary, where tests look, not for the replica.
    """
    with connections["orders"].cursor() as cursor:
        cursor.execute("SELECT pg_sleep(%s)", [milliseconds / 1000])
    Order.objects.count()
    return HttpResponse("done")


urlpatterns = [
    path("admin/", admin.site.urls),
    path("own/", own_site.urls),
    path("metrics", metrics),
    path("busy/<int:milliseconds>", work),
    path("metrics-of-host", metrics, {"processes": False}),
]
