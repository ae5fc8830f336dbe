"""The tenants; their schemas are made by the tests."""

from django.db import models
from django_tenants.models import DomainMixin, TenantMixin


class Client(TenantMixin):
    auto_create_schema = False
    name = models.CharField(max_length=100)


class Domain(DomainMixin):
    pass
