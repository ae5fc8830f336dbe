"""Requests of one browser, which lacks the cookie that tells what it wrote."""

from __future__ import annotations

from typing import Any

from .project import Site, play


def sessions(site: Site) -> dict[str, Any]:
    from django.conf import settings
    from django.http import HttpRequest, JsonResponse
    from django.test import Client
    from django.urls import path

    def visit(request: HttpRequest) -> JsonResponse:
        """Set what the query names, or end the session; tell what is in it."""
        if "logout" in request.GET:
            request.session.flush()
        for name in request.GET:
            if name not in ("logout", "look"):
                request.session[name] = True
        shown = ("cart", "paid", "seen")
        return JsonResponse({name: name in request.session for name in shown})

    settings.ROOT_URLCONF = (path("", visit),)
    client = Client()

    def ask(query: str) -> list[str]:
        """Return the names in the session, in a request that does not know the earlier ones."""
        for name in client.cookies.keys() - {settings.SESSION_COOKIE_NAME}:
            del client.cookies[name]
        with site.process():
            answer = client.get(f"/?{query}").json()
        return [name for name, is_there in answer.items() if is_there]

    found: dict[str, Any] = {"first": ask("cart")}
    site.let_replicas_lag()
    found["paid"] = ask("paid")
    found["read and saved"] = ask("seen")
    found["after that"] = ask("look")
    cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
    ask("logout")
    client.cookies[settings.SESSION_COOKIE_NAME] = cookie
    found["deleted"] = ask("look")
    return found


if __name__ == "__main__":
    play(sessions)
