import os

from django.http import HttpRequest, HttpResponse
from django.urls import path

from tests.support.serving import work


def hold(request: HttpRequest) -> HttpResponse:
    return HttpResponse(work.hold())


def session(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{os.getpid()} {work.session()}")


urlpatterns = [path("hold", hold), path("session", session)]
