from django.urls import path

from example_project.orders import views

app_name = "orders"
urlpatterns = [
    path("", views.OrderList.as_view(), name="orders"),
    path("<str:reference>/", views.OrderDetail.as_view(), name="order"),
    path("buy/<slug:slug>/", views.buy, name="buy"),
]
