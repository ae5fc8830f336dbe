from django import forms

from example_project.orders.models import Order


class OrderForm(forms.ModelForm):
    quantity = forms.IntegerField(min_value=1, max_value=20, initial=1)

    class Meta:
        model = Order
        fields = ["customer", "email"]
        labels = {"customer": "Your name"}
