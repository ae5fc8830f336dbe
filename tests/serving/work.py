"""What a request or a task does; the log tells how far it came."""

from contextlib import ExitStack

from django.db import connection, connections

# Each waits until the test lets go of the lock that it holds.
GATES = {
    "postgresql": "SELECT pg_advisory_lock_shared(4711)",
    "mysql": "SELECT * FROM gate LOCK IN SHARE MODE",
}
SESSIONS = {"postgresql": "SELECT pg_backend_pid()", "mysql": "SELECT CONNECTION_ID()"}


def hold() -> str:
    """Leave idle connections behind and hold one at the gate; then go on with it, and anew."""
    idle = [connections["default"].copy() for _ in range(3)]  # one of them is used again
    for each in idle:
        each.ensure_connection()
    for each in idle:
        each.close()
    query(GATES[connection.vendor])
    query("SELECT 1")
    connection.close()
    query("SELECT 1")
    print("held", flush=True)
    return "held"


def session() -> str:
    """Return the server's number for this process's connection."""
    return str(query(SESSIONS[connection.vendor]))


def query(sql: str) -> object:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]
