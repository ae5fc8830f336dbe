from django.apps import AppConfig


class CatalogueConfig(AppConfig):
    name = "example_project.catalogue"
