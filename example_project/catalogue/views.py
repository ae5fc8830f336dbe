"""Pages of the catalogue. No view names a database: the router chooses."""

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Avg
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render

from example_project.catalogue.forms import ReviewForm
from example_project.catalogue.models import Category, Product, Review

PAGE_SIZE = 12
REVIEWS_SHOWN = 20
RELATED_SHOWN = 4
SEARCH_LIMIT = 20


def product_list(request: HttpRequest) -> HttpResponse:
    """All products, or those of `?category=<slug>`."""
    products, category = Product.objects.select_related("category"), None
    if slug := request.GET.get("category"):
        category = get_object_or_404(Category, slug=slug)
        products = products.filter(category=category)
    context = {
        "page_obj": Paginator(products, PAGE_SIZE).get_page(request.GET.get("page")),
        "category": category,
        "categories": Category.objects.all(),
    }
    return render(request, "catalogue/product_list.html", context)


def product_detail(request: HttpRequest, slug: str) -> HttpResponse:
    """One product with its reviews; POST adds a review."""
    products = Product.objects.select_related("category").prefetch_related("tags")
    product = get_object_or_404(products, slug=slug)
    form = ReviewForm(request.POST or None, instance=Review(product=product))
    if request.method == "POST" and form.is_valid():
        form.save()
        messages.success(request, "Thank you for your review.")
        return redirect(product)
    related = Product.objects.filter(category=product.category).exclude(pk=product.pk)
    context = {
        "product": product,
        "reviews": product.reviews.all()[:REVIEWS_SHOWN],
        "rating": product.reviews.aggregate(average=Avg("rating"))["average"],
        "related": related[:RELATED_SHOWN],
        "form": form,
    }
    return render(request, "catalogue/product.html", context)


async def search(request: HttpRequest) -> JsonResponse:
    """Products whose name contains `?q=`, as JSON."""
    query = request.GET.get("q", "").strip()
    found = Product.objects.filter(name__icontains=query).select_related("category")
    results = [
        {
            "name": product.name,
            "category": product.category.name,
            "price": str(product.price),
            "stock": product.stock,
            "url": product.get_absolute_url(),
        }
        async for product in found[:SEARCH_LIMIT].aiterator()
    ]
    return JsonResponse({"query": query, "results": results})
