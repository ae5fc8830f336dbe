"""A page of the Django admin that shows the connection pools of this host, live.

``INSTALLED_APPS = [..., "django_poolrouter", "django_poolrouter.contrib.admin"]``
"""
