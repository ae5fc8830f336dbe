"""django-tenants on Django's own backend, even if ORIGINAL_BACKEND names ours."""

from importlib.util import find_spec, module_from_spec

from django.test import override_settings

spec = find_spec("django_tenants.postgresql_backend.base")
assert spec
assert spec.loader
stock = module_from_spec(spec)
# django-tenants reads the setting when it is imported, so import it a second time.
with override_settings(ORIGINAL_BACKEND="django.db.backends.postgresql"):
    spec.loader.exec_module(stock)
DatabaseWrapper = stock.DatabaseWrapper
