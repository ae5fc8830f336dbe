"""mysqlclient's connection, with what the pool adds to undo its users' changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Self

from MySQLdb.connections import Connection

from ...drivers.restorable import Part, Restorable
from ...pooling.descriptors import Descriptor
from ...sql.kinds import classify
from ...sql.marks import Mark


class RestorableConverters(Part, dict[Any, Any]):
    """A connection's table of converters, which users change in place."""

    @classmethod
    def of(cls, connection: RestorableConnection, converters: Mapping[Any, Any]) -> Self:
        """Return a copy of ``converters`` that notes its changes on ``connection``."""
        made = cls(converters)
        made.belong_to(connection)
        return made

    def __setitem__(self, key: Any, value: Any) -> None:
        self.note()
        super().__setitem__(key, value)

    def __delitem__(self, key: Any) -> None:
        self.note()
        super().__delitem__(key)

    def update(self, *args: Any, **kwargs: Any) -> None:
        self.note()
        super().update(*args, **kwargs)


class RestorableConnection(Connection, Restorable):
    """mysqlclient's connection, which remembers what the driver does not.

    It notes whether its users may have sent a BEGIN or locked tables, and what they changed on
    it.  It also notes whether rows may be left unread: the next user would read them.

    A cursor merges the parameters into its statement.  So it has the connection note the text
    before that, which is often the same.
    """

    is_noted = False
    """Whether a cursor has had its next statements noted."""
    may_have_begun = False
    may_have_locked = False
    may_have_rows = False
    has_other_identity = False
    _converters: tuple[dict[Any, Any], dict[Any, Any]]

    def adopt_parts(self) -> None:
        self.descriptor = Descriptor(self.fileno())  # type: ignore[no-untyped-call]
        self._converters = dict(self.encoders), dict(self.converter)
        self._attach_converters()

    def __setattr__(self, name: str, value: Any) -> None:
        # The driver's own __setattr__ comes before Restorable's, so that one is never called.
        self.note()
        super().__setattr__(name, value)

    def cursor(self, cursorclass: Any = None) -> Any:
        """Return a cursor that has its statements noted."""
        kind: Any = cursorclass or self.cursorclass
        return watched(kind)(self)

    def note_statement(self, statement: object, parameters: object = None) -> None:
        """Note what a statement may do, before it is sent."""
        session = self.session
        kind = session.note(statement, parameters) if session else classify(statement, "mysql")
        state = self.__dict__  # __setattr__ would note a change
        if kind.may_begin:
            state["may_have_begun"] = True
            if kind.may_lock_tables:
                state["may_have_locked"] = True

    def query(self, query: str | bytes | bytearray) -> None:
        """Send a statement.  Every cursor calls this method."""
        if isinstance(query, str):  # from the driver's own helpers
            query = query.encode()
        if not self.is_noted:
            self.note_statement(query)
        self.__dict__["may_have_rows"] = True
        super().query(query)

    def send_query(self, query: Any) -> None:
        """Send a statement without waiting for its result."""
        self.note_statement(query)
        super().send_query(query)  # type: ignore[no-untyped-call]

    def select_db(self, database: Any) -> None:
        """Change the database of the session."""
        if self.session is not None:
            self.session.note_call(Mark("setting"), "select_db", database)
        super().select_db(database)  # type: ignore[no-untyped-call]

    def set_server_option(self, option: int) -> Any:
        self.has_other_identity = True
        return super().set_server_option(option)  # type: ignore[no-untyped-call]

    def ping(self, *args: Any) -> Any:
        """Ask whether the server answers, and perhaps connect again."""
        if any(args):  # a new session would lack what Django has set
            self.has_other_identity = True
        return super().ping(*args)

    def store_result(self) -> Any:
        """Read the whole result.  Callers that use use_result() instead leave rows unread."""
        result = super().store_result()  # type: ignore[no-untyped-call]
        self.__dict__["may_have_rows"] = False
        return result

    if hasattr(Connection, "more_results"):  # mysqlclient 2.3

        def next_result(self) -> int:
            """Go to the next result of the statement.  Return 0 if there is one, -1 if not.

            A cursor asks twice for each statement.  The driver releases the GIL even if there
            is none.  With many threads, that costs more than the rest of its work.
            """
            if not self.may_have_rows and not self.more_results():
                return -1
            found: int = super().next_result()  # type: ignore[no-untyped-call]
            return found

    def set_character_set(self, charset: str, collation: str | None = None) -> None:
        self.has_other_identity = True
        super().set_character_set(charset, collation)

    def change_user(self, *args: Any, **kwargs: Any) -> None:
        self.has_other_identity = True
        super().change_user(*args, **kwargs)  # type: ignore[no-untyped-call]

    def roll_back(self) -> None:
        """End any transaction and release locked tables.  Fails if rows are left unread."""
        self.rollback()  # type: ignore[no-untyped-call]
        if self.may_have_locked:
            self.run(b"UNLOCK TABLES")
        self.mark_clean()

    def run(self, sql: bytes) -> None:
        """Run statements and discard their results."""
        Connection.query(self, sql)
        Connection.store_result(self)  # type: ignore[no-untyped-call]
        while Connection.next_result(self) == 0:  # type: ignore[no-untyped-call]
            Connection.store_result(self)  # type: ignore[no-untyped-call]

    def log_in(self, parameters: Mapping[str, Any]) -> None:
        """Start a new session, and set it up as connect() does with these parameters."""
        password = parameters.get("password", parameters.get("passwd", ""))
        database = parameters.get("database", parameters.get("db", ""))
        Connection.change_user(self, parameters["user"], password, database)  # type: ignore[no-untyped-call]
        if command := parameters.get("init_command"):
            self.run(command.encode())
        if collation := parameters.get("collation"):
            Connection.set_character_set(self, parameters["charset"], collation)
        if sql_mode := parameters.get("sql_mode"):
            self.set_sql_mode(sql_mode)
        self.restore()
        self.mark_clean()

    def mark_clean(self) -> None:
        """Note that no transaction, table lock or row is left."""
        self.__dict__.update(may_have_begun=False, may_have_locked=False, may_have_rows=False)

    def restore(self) -> None:
        if self.has_other_identity:
            raise RuntimeError("the session is not the one that was opened")
        super().restore()
        self._attach_converters()
        self.__dict__["changed"] = False

    def _attach_converters(self) -> None:
        encoders, converter = self._converters
        self.encoders = RestorableConverters.of(self, encoders)
        self.converter = RestorableConverters.of(self, converter)


@lru_cache(maxsize=64)
def watched(kind: Any) -> Any:
    """Return a subclass of a cursor class that has its connection note the statements."""
    if not isinstance(kind, type):
        return kind
    methods = {name: _noting(kind, name) for name in ("execute", "executemany")}
    return type(kind.__name__, (kind,), {"__module__": kind.__module__, **methods})


def _noting(kind: Any, name: str) -> Callable[..., Any]:
    def call(self: Any, query: Any, args: Any = None) -> Any:
        method = getattr(kind, name)
        connection = self.connection
        if connection is None or connection.is_noted:  # closed, or called by executemany()
            return method(self, query, args)
        connection.note_statement(query, args)
        state = vars(connection)
        state["is_noted"] = True
        try:
            return method(self, query, args)
        finally:
            state["is_noted"] = False

    call.__name__ = name
    return call
