"""The page and its data, registered with the default admin site.

For another admin site, call ``site.register(Pools, PoolsAdmin)``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from ...status.report import collect
from .models import Pools
from .page import content

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Pools]
else:
    ModelAdmin = admin.ModelAdmin


@admin.register(Pools)
class PoolsAdmin(ModelAdmin):
    """Shows the pools of all processes of the project on this host, instead of a list of rows.

    Any web process can show all of them.  It asks no pool and no database for the figures.
    """

    def get_urls(self) -> list[URLPattern]:
        """Return the URLs of the page, instead of a list of rows, and of the data it polls."""
        view = self.admin_site.admin_view
        return [
            path("", view(self.show_page), name="poolrouter_admin_pools_changelist"),
            path("data.json", view(self.show_data), name="poolrouter_admin_pools_data"),
        ]

    @method_decorator(require_safe)
    def show_page(self, request: HttpRequest) -> HttpResponse:
        """Return the page with the current figures."""
        self._require_permission(request)
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request),
            "title": _("Connection pools"),
            "content": content(collect()),
        }
        return TemplateResponse(request, "poolrouter_admin/pools.html", context)

    @method_decorator(require_safe)
    def show_data(self, request: HttpRequest) -> HttpResponse:
        """Return the current figures for a page that is already open."""
        self._require_permission(request)
        return JsonResponse(content(collect()))

    def _require_permission(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Pools | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Pools | None = None) -> bool:
        return False
