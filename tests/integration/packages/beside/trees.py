"""Trees whose nodes were read from a replica, outside a transaction, and are then changed."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import Any

from .project import Site, play


class Mptt:
    """The work on a tree of django-mptt."""

    def __init__(self) -> None:
        from .mptt_tree.models import Place

        self.model = Place

    def add(self, name: str, parent: Any = None) -> Any:
        return self.model.objects.create(name=name, parent=parent)

    def get(self, name: str) -> Any:
        return self.model.objects.get(name=name)

    def move(self, node: Any, target: Any) -> None:
        node.parent = target
        node.save()

    def shape(self) -> list[Any]:
        places = self.model.objects.using("default").order_by("name")
        numbers = places.values_list("name", "parent__name", "level", "lft", "rght")
        return [list(row) for row in numbers]


class Wagtail:
    """The work on wagtail's tree of pages."""

    def __init__(self) -> None:
        from wagtail.models import Locale, Page

        self.model = Page
        Locale.objects.using("default").get_or_create(language_code="en")

    def add(self, name: str, parent: Any = None) -> Any:
        page = self.model(title=name, slug=name)
        return parent.add_child(instance=page) if parent else self.model.add_root(instance=page)

    def get(self, name: str) -> Any:
        return self.model.objects.get(title=name)

    def move(self, node: Any, target: Any) -> None:
        node.move(target, pos="last-child")

    def shape(self) -> list[Any]:
        pages = self.model.objects.using("default").order_by("title")
        return [list(row) for row in pages.values_list("title", "path", "depth", "numchild")]


class Treebeard:
    """The work on a tree of django-treebeard."""

    def __init__(self) -> None:
        from .path_tree.models import Topic

        self.model = Topic

    def add(self, name: str, parent: Any = None) -> Any:
        return parent.add_child(name=name) if parent else self.model.add_root(name=name)

    def get(self, name: str) -> Any:
        return self.model.objects.get(name=name)

    def move(self, node: Any, target: Any) -> None:
        node.move(target, pos="last-child")

    def shape(self) -> list[Any]:
        topics = self.model.objects.using("default").order_by("name")
        return [list(row) for row in topics.values_list("name", "path", "depth", "numchild")]


TREES: dict[str, Any] = {"mptt": Mptt, "treebeard": Treebeard, "wagtail": Wagtail}


def trees(site: Site) -> dict[str, Any]:
    """Return the tree's shape after each change that the order names, or how that failed."""
    kind, *changes = site.what.split(",")
    tree = TREES[kind]()
    return {change: site.attempt(partial(shape_after, change, site, tree)) for change in changes}


def shape_after(change: str, site: Site, tree: Any) -> list[Any]:
    from django.db import transaction

    from django_poolrouter import using_primary

    change, _, way = change.partition(" in ")
    in_atomic = way == "atomic"

    def read(name: str) -> Any:
        node = tree.get(name)
        assert (node._state.db == "default") is (in_atomic or not site.replicas)
        return node

    with site.process():
        tree.model.objects.using("default").all().delete()
        for name in ("a", "b"):
            tree.add(name)
        for name in ("a1", "a2", "a3", "b1"):
            tree.add(name, tree.get(name[0]))
    site.let_replicas_lag()
    with site.process(), using_primary():
        tree.move(tree.get("a2"), tree.get("b"))
    with site.process(), transaction.atomic() if in_atomic else nullcontext():
        match change:
            case "add":
                tree.add("b3", read("b"))
            case "move":
                tree.move(read("a1"), read("b"))
            case "delete":
                read("a").delete()
            case "delete-moved":
                read("a2").delete()
    return tree.shape()


if __name__ == "__main__":
    play(trees)
