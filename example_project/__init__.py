"""A small shop on two database clusters: how a site uses django-poolrouter."""
