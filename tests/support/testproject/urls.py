"""The pages of the project."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import path

from tests.support.testapp.shop.models import Book, Tag


def count(request: HttpRequest) -> HttpResponse:
    if request.method == "POST":
        Book.objects.create(title="Posted", author_id=request.POST["author"])
    return HttpResponse(f"{Book.objects.count()} books")


def newest(request: HttpRequest) -> HttpResponse:
    return HttpResponse(Tag.objects.latest("pk").name)


urlpatterns = [path("count", count), path("newest", newest)]
