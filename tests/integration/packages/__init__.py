"""Other people's packages on our backends: django-tenants, Sentry, django-prometheus, PostGIS."""
