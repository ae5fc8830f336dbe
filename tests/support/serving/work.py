"""What a request or a task does; the log tells how far it came."""

from django.db import connection, connections

# Each waits until the test lets go of the lock that it holds.
GATES = {
    "postgresql": "SELECT pg_advisory_lock_shared(4711)",
    "mysql": "SELECT * FROM gate.gate LOCK IN SHARE MODE",
}
SESSIONS = {"postgresql": "SELECT pg_backend_pid()", "mysql": "SELECT CONNECTION_ID()"}


def hold() -> str:
    """Leave idle connections behind and hold one at the gate; then go on with it, and anew."""
    leave_idle()
    query(GATES[connection.vendor])
    query("SELECT 1")
    connection.close()
    query("SELECT 1")
    print("held", flush=True)
    return "held"


def leave_idle() -> None:
    """Open three connections, which a pool keeps."""
    wrappers = [connections["default"].copy() for _ in range(3)]
    for wrapper in wrappers:
        wrapper.ensure_connection()
    for wrapper in wrappers:
        wrapper.close()


def session() -> str:
    """Return the server's number for this process's connection."""
    return str(query(SESSIONS[connection.vendor]))


def query(sql: str) -> object:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]
