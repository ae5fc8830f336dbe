"""A replica's wrapper, while a transaction that began under its alias is open on its primary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...statements.blocks import primary_in_block
from .state import WrapperState


class MovedBlock(WrapperState):
    """Answers for the primary what Django and applications ask about the transaction."""

    def get_autocommit(self) -> bool:
        primary = primary_in_block(self)
        if primary is not None:
            return primary.get_autocommit()
        return super().get_autocommit()

    def on_commit(self, func: Callable[[], object], robust: bool = False) -> None:
        other: Any = primary_in_block(self) or super()
        other.on_commit(func, robust)
