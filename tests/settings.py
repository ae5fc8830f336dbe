"""Settings of the test suite."""

SECRET_KEY = "only-for-tests"
INSTALLED_APPS = ["django_poolrouter"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
