"""Settings of the test suite."""

SECRET_KEY = "only-for-tests"
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
