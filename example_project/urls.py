"""The shop's pages, the admin, and what monitoring asks for."""

from importlib.util import find_spec

from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.contrib.staticfiles.views import serve
from django.urls import include, path

urlpatterns = [
    path("", include("example_project.catalogue.urls")),
    path("orders/", include("example_project.orders.urls")),
    path("admin/", admin.site.urls),
    # The demo has no web server in front of it that would serve the styles.
    path("static/<path:path>", serve, {"insecure": True}),
]

if apps.is_installed("health_check"):
    from health_check.views import HealthCheckView

    POOL_CHECK = "django_poolrouter.contrib.health_check.PoolHealthCheck"
    checks = [(POOL_CHECK, {"alias": alias}) for alias in settings.DATABASES]
    urlpatterns.append(path("health/", HealthCheckView.as_view(checks=checks), name="health"))

if find_spec("prometheus_client"):
    from django_poolrouter.contrib.prometheus import metrics

    urlpatterns.append(path("metrics", metrics, name="metrics"))
