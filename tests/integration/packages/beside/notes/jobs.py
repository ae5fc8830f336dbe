"""Work that a queue does."""


def write(text: str) -> str:
    from .models import Note

    Note.objects.create(text=text)
    return text
