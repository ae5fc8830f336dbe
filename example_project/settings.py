"""Settings of the example shop, all by environment; DB=sqlite works with no set-up."""

import os
from importlib.util import find_spec
from pathlib import Path

from example_project.databases import database

BASE_DIR = Path(__file__).resolve().parent

SECRET_KEY = os.environ.get("SECRET_KEY", "insecure: for the example alone")
DEBUG = os.environ.get("DEBUG", "1") == "1"
ALLOWED_HOSTS = os.environ.get("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]").split(",")

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "django_poolrouter",
    "django_poolrouter.contrib.admin",
    "example_project.catalogue",
    "example_project.orders",
]
# An extra: without it the shop lacks its health page, and works all the same.
if find_spec("health_check"):
    INSTALLED_APPS.append("health_check")

# Two clusters. `default` owns every model that no other cluster claims (the catalogue, users,
# sessions, the admin's log); `orders` owns the app of that name.
DATABASES = {
    "default": database("default", "shop"),
    "replica1": database("replica1", "shop", router={"REPLICA_OF": "default"}),
    "replica2": database("replica2", "shop", router={"REPLICA_OF": "default"}),
    "orders": database("orders", "orders", router={"APPS": ["orders"]}),
    "orders_replica1": database("orders_replica1", "orders", router={"REPLICA_OF": "orders"}),
}
DATABASE_ROUTERS = ["django_poolrouter.router.PoolRouter"]
POOLROUTER = {"CONTROL": True}  # manage.py poolctl
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django_poolrouter.middleware.RoutingMiddleware",
    "example_project.trace.trace_statements",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "example_project.urls"
WSGI_APPLICATION = "example_project.wsgi.application"
ASGI_APPLICATION = "example_project.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
# A flash message needs no row in the sessions table.
MESSAGE_STORAGE = "django.contrib.messages.storage.cookie.CookieStorage"

USE_TZ = True
TIME_ZONE = "UTC"

# Tracebacks on stderr also without DEBUG, where Django would only mail them.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stderr": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    # A page that is not found is no news.
    "loggers": {"django.request": {"level": "ERROR"}},
}
