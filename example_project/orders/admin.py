from django.contrib import admin

from example_project.orders.models import Order, OrderLine


class OrderLineInline(admin.TabularInline):
    model = OrderLine
    extra = 0


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):
    list_display = ["reference", "customer", "email", "status", "placed_at", "pieces"]
    list_filter = ["status", "placed_at"]
    search_fields = ["reference", "customer", "email"]
    inlines = [OrderLineInline]

    def get_queryset(self, request):
        return super().get_queryset(request).prefetch_related("lines")

    @admin.display
    def pieces(self, order: Order) -> int:
        return sum(line.quantity for line in order.lines.all())


@admin.register(OrderLine)
class OrderLineAdmin(admin.ModelAdmin):
    list_display = ["order", "product_name", "quantity", "unit_price"]
    list_select_related = ["order"]
    search_fields = ["product_name", "order__reference"]
    autocomplete_fields = ["order"]
