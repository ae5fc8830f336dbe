"""A project with django-tenants, and what its users do."""
