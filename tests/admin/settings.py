"""The tests' settings for a web server; key, databases and more come from the environment."""

import json
import os

from tests import settings

SECRET_KEY = os.environ["KEY"]
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = settings.INSTALLED_APPS
DATABASES = json.loads(os.environ["DATABASES"])
DATABASE_ROUTERS = ["django_poolrouter.router.PoolRouter"]
POOLROUTER = json.loads(os.environ["POOLROUTER"])
MIDDLEWARE = [
    "django_poolrouter.middleware.RoutingMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = settings.TEMPLATES
STATIC_URL = settings.STATIC_URL
ROOT_URLCONF = "tests.admin.urls"
