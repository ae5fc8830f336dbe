"""A TCP proxy that counts turns: the client speaks after the server has."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import ExitStack, suppress


class TurnCounter:
    """Forwards from a free loopback port to a server's port, and counts."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._stack = ExitStack()
        self._turns = 0

    def __enter__(self) -> TurnCounter:
        self._listener = self._stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def settled(self) -> int:
        """Return the count when nothing is on its way any more."""
        count = -1
        while count != self._turns:
            count = self._turns
            time.sleep(0.05)
        return count

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client = self._listener.accept()[0]
                server = socket.create_connection(("127.0.0.1", self._server_port))
                said = {"last": server}
                for source, sink in ((client, server), (server, client)):
                    source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    pump = (source, sink, source is client, said)
                    threading.Thread(target=self._pump, args=pump, daemon=True).start()

    def _pump(
        self,
        source: socket.socket,
        sink: socket.socket,
        from_client: bool,
        said: dict[str, socket.socket],
    ) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if from_client and said["last"] is not source:
                    self._turns += 1
                said["last"] = source
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
