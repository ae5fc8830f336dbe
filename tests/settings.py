"""Settings of the test suite."""

import os

# A project of its own: the status has all processes of the host.
SECRET_KEY = f"only-for-tests-{os.getpid()}"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "django_poolrouter",
    "django_poolrouter.contrib.admin",
    "tests.support.testapp.billing",
    "tests.support.testapp.orders",
    "tests.support.testapp.shop",
]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# Made like the apps of the tests, in one go; `billing` alone has migrations.
MIGRATION_MODULES = {"admin": None, "auth": None, "contenttypes": None, "sessions": None}
# For the admin.
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
STATIC_URL = "static/"
