from django.urls import path

from example_project.catalogue import views

app_name = "catalogue"
urlpatterns = [
    path("", views.product_list, name="products"),
    path("products/<slug:slug>/", views.product_detail, name="product"),
    path("search.json", views.search, name="search"),
]
