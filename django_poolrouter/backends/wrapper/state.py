"""The attributes that the parts of a pooled wrapper share.  Every part inherits from here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import ref

from ...drivers.driver import Driver
from .overrides import NOT_LOOKED_FOR

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper as _Base

    from ...drivers.session import Session
    from ...pooling import Lease
    from ...process.database_pool import DatabasePool
    from ...process.registry import Handle
else:
    _Base = object


# Attributes that a block has set on the wrapper.  Connecting would clear or act on them.
BLOCK = (
    "atomic_blocks",
    "autocommit",
    "commit_on_exit",
    "in_atomic_block",
    "needs_rollback",
    "run_commit_hooks_on_set_autocommit_on",
    "run_on_commit",
    "savepoint_ids",
)


class WrapperState(_Base):
    """Declares the attributes that a vendor sets, and those that change with each lease."""

    # -- set by a vendor -----------------------------------------------------------------

    driver_class: type[Driver] = Driver
    """What the pool does with raw connections; found by the class's ``Database`` if not set."""
    pool_facts: tuple[str, ...] = ()
    """Names of attributes that opening a connection sets on a wrapper, the same for the whole
    pool, besides ``Driver.facts``.  A checkout copies them to its wrapper."""
    parameters_are_facts = False
    """Whether the facts name everything that ``get_connection_params()`` sets on a wrapper.
    Then a checkout need not call it."""
    identity_settings: tuple[str, ...] = ()
    """Keys of the settings that this backend opens connections by, besides Django's own: two
    values have two pools."""
    own_settings: tuple[str, ...] = ()
    """Settings of the session that this backend sends again for each lease, before a caller can
    use the connection, in lower case: "search_path".  They do not mark the lease."""
    pool = None
    """Switches off Django's own pool, which reads the same option."""
    pooled = True

    # -- changed by a lease --------------------------------------------------------------

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.alias = str(self.alias)  # perhaps the router's own answer
        self._handle: Handle | None = None
        self._lease: Lease | None = None
        self._informed_by: DatabasePool | None = None
        """The pool whose facts were copied to this wrapper."""
        self._overrides = NOT_LOOKED_FOR
        """Methods of Django that this wrapper's class overrides, or that a tool has patched."""
        self._is_broken = False
        """Whether the pool must close the connection at checkin."""
        self.was_refused = False
        """Whether the server refused a write during this lease."""
        self._holds_per_transaction = False
        """Whether ``hold`` is "transaction", so that leases end early."""
        self._keeps_marked = False
        """Whether a lease whose user changed the session does not end early."""
        self._can_resume = False
        """Whether a lease ended early and nothing else has happened since."""
        self._begins_late = False
        """Whether the wrapper is in an atomic() block whose transaction has not begun."""
        self._borrows = False
        """Whether this is a test mirror that uses its primary's connection."""
        self._busy = 0
        """How many nested calls of this code need the lease right now."""
        self._holders: set[object] = set()
        """Objects that keep the lease from ending early, such as cursors opened in autocommit
        (as weak references)."""
        self._cursors: set[ref[Any]] = set()
        """Weak references to all other open cursors."""

    @property
    def _session(self) -> Session | None:
        """What the user of the current connection has sent, if the pool must know."""
        session: Session | None = getattr(self.connection, "session", None)
        return session

    if TYPE_CHECKING:
        # Attributes of Django that its stubs leave out.
        _thread_ident: int
        _thread_sharing_count: int

        @property
        def database_pool(self) -> DatabasePool | None: ...
        def _give_back(self, lease: Lease) -> None: ...
        def _resume(self) -> bool: ...
        def _wait_for_lease(self, pool: DatabasePool, began: float) -> Lease: ...
