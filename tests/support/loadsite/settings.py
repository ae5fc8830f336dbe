"""Settings by environment."""

import json
import os

from tests.support import broker

SECRET_KEY = os.environ["KEY"]
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = ["django_poolrouter"]
DATABASES = {"default": json.loads(os.environ["DATABASE"])}
ROOT_URLCONF = "tests.support.loadsite.urls"
CELERY_BROKER_URL = broker.URL
CELERY_BROKER_TRANSPORT_OPTIONS = {
    name: os.environ.get("BROKER")
    for name in ("data_folder_in", "data_folder_out", "control_folder")
}
