"""Settings of the test suite."""

import os

# A project of its own: the status has all processes of the host.
SECRET_KEY = f"only-for-tests-{os.getpid()}"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django_poolrouter",
    "tests.testapp.billing",
    "tests.testapp.orders",
    "tests.testapp.shop",
]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# Made like the apps of the tests, in one go; `billing` alone has migrations.
MIGRATION_MODULES = {"auth": None, "contenttypes": None, "sessions": None}
