"""Settings of the project; DATABASES is JSON in the environment."""

import json
import os

from tests import settings

SECRET_KEY = settings.SECRET_KEY
# The admin wants templates and more middleware.
INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if not app.endswith("admin")]
MIGRATION_MODULES = settings.MIGRATION_MODULES
DEFAULT_AUTO_FIELD = settings.DEFAULT_AUTO_FIELD
MIDDLEWARE = ["django_poolrouter.middleware.RoutingMiddleware"]
DATABASE_ROUTERS = ["django_poolrouter.router.PoolRouter"]
ROOT_URLCONF = "tests.support.testproject.urls"
TEST_RUNNER = "tests.support.testproject.runner.Runner"
DATABASES = json.loads(os.environ["DATABASES"])
if "CELERY_FOLDER" in os.environ:
    INSTALLED_APPS = [*INSTALLED_APPS, "django_poolrouter.contrib.celery"]
