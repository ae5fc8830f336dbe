"""The default admin site, and one as users make them."""

from __future__ import annotations

from django.contrib import admin
from django.urls import path

from django_poolrouter.contrib.admin.admin import PoolsAdmin
from django_poolrouter.contrib.admin.models import Pools
from django_poolrouter.contrib.prometheus import metrics

own_site = admin.AdminSite(name="own")
own_site.register(Pools, PoolsAdmin)

urlpatterns = [
    path("admin/", admin.site.urls),
    path("own/", own_site.urls),
    path("metrics", metrics),
    path("metrics-of-host", metrics, {"processes": False}),
]
