"""Settings of the project; DATABASES is JSON in the environment.

With Django's own engine it is a project without this package, to compare with.
"""

import json
import os

SECRET_KEY = "only-for-tests"
ALLOWED_HOSTS = ["*"]
DATABASES = json.loads(os.environ["DATABASES"])
INSTALLED_APPS = ["tests.support.serving"]
if DATABASES["default"]["ENGINE"].startswith("django_poolrouter"):
    INSTALLED_APPS.insert(0, "django_poolrouter")
ROOT_URLCONF = "tests.support.serving.urls"
