from django import forms

from example_project.catalogue.models import Review


class ReviewForm(forms.ModelForm):
    class Meta:
        model = Review
        fields = ["author", "rating", "text"]
        labels = {"author": "Your name", "text": "Review"}
        widgets = {"text": forms.Textarea(attrs={"rows": 3})}
