"""Pages of the orders."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.generic import DetailView, ListView

from example_project.catalogue.models import Product
from example_project.orders.forms import OrderForm
from example_project.orders.models import Order
from example_project.orders.placing import OutOfStock, place_order


class OrderList(ListView):
    """The latest orders. A real shop would show each customer their own."""

    template_name = "orders/order_list.html"
    queryset = Order.objects.prefetch_related("lines")
    paginate_by = 20


class OrderDetail(DetailView):
    template_name = "orders/order.html"
    queryset = Order.objects.prefetch_related("lines")
    slug_field = slug_url_kwarg = "reference"


def buy(request: HttpRequest, slug: str) -> HttpResponse:
    """The order form of one product; POST places the order."""
    product = get_object_or_404(Product, slug=slug)
    form = OrderForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            order = place_order(product_id=product.pk, **form.cleaned_data)
        except OutOfStock as error:
            form.add_error("quantity", str(error))
        else:
            messages.success(request, "Thank you for your order.")
            return redirect(order)
    return render(request, "orders/buy.html", {"product": product, "form": form})
