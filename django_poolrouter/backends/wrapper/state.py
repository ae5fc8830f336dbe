"""What the parts of a pooled wrapper share, declared once: every part inherits from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import ref

from ...drivers.driver import Driver

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper as _Base

    from ...pooling import Lease
    from ...process.database_pool import DatabasePool
    from ...process.registry import Handle
else:
    _Base = object


class WrapperState(_Base):
    """A pooled wrapper as its parts know it: what a vendor sets, and what a lease changes."""

    # -- what a vendor sets ------------------------------------------------------------

    driver_class: type[Driver] = Driver
    pool_facts: tuple[str, ...] = ()
    """Attributes of a wrapper that opening a connection sets, the same for all of a pool."""
    parameters_are_facts = False
    """Whether ``pool_facts`` has all that ``get_connection_params()`` sets on a wrapper, so
    that a checkout can do without."""
    pool_parameters: dict[str, Any] = {}
    """Parameters of the driver for a pool's connections, where the settings have none."""
    connect_timeout_option = ""
    """The driver's parameter for the longest wait for a connection, in whole seconds."""
    pooled = True

    # -- what a lease changes ------------------------------------------------------------

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._handle: Handle | None = None
        self._lease: Lease | None = None
        self._informed_by: DatabasePool | None = None
        """The pool whose facts are on this wrapper."""
        self._is_broken = False
        """Whether the connection that goes back is to be closed."""
        self.was_refused = False
        """Whether the server refused a write during this lease."""
        self._holds_per_transaction = False
        """Whether ``hold`` is "transaction": leases end early."""
        self._can_resume = False
        """Whether a lease ended early, and nothing but that has happened since."""
        self._begins_late = False
        """Whether a block was entered whose transaction has not begun."""
        self._borrows = False
        """Whether a test mirror uses its primary's connection."""
        self._busy = 0
        """How many parts of this code, one within the other, need the lease right now."""
        self._holders: set[object] = set()
        """What keeps the lease from ending early; among them cursors opened in autocommit."""
        self._cursors: set[ref[Any]] = set()
        """All other open cursors."""

    if TYPE_CHECKING:
        # Django's own, which its stubs leave out.
        _thread_ident: int
        _thread_sharing_count: int

        @property
        def database_pool(self) -> DatabasePool | None: ...
        def _give_back(self, lease: Lease) -> None: ...
        def _resume(self) -> bool: ...
