"""A TCP proxy that fails on demand, as networks and servers do."""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from typing import Any, Literal, Self, TypeVar, get_args

T = TypeVar("T")
Mode = Literal["pass", "refuse", "reject", "blackhole", "half"]

# SO_LINGER with a time of zero: close() sends a reset, and discards what is unsent.
RESET = struct.pack("ii", 1, 0)


class FaultProxy:
    """A proxy on 127.0.0.1 to one port, in a thread of its own.

    `mode` may be changed while connections are open:

    pass       forward everything
    refuse     the listening socket is closed; open connections go on
    reject     accept, then reset at once; open connections go on
    blackhole  accept and keep open, forward nothing (a partition, a frozen host)
    half       forward requests, drop the answers (was the COMMIT done?)

    `delay` adds seconds to every chunk in either direction, `drop()` resets the open
    connections, `accepted` and `live` count connections.
    """

    def __init__(self, upstream_port: int) -> None:
        self.delay = 0.0
        self.accepted = 0
        self.port = 0  # any free one, and the same again after `refuse`
        self._upstream_port = upstream_port
        self._mode: Mode = "pass"
        self._flow = asyncio.Event()
        self._flow.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._call(self._listen())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def live(self) -> int:
        """Connections that are open through the proxy."""
        return len(self._writers) // 2

    @property
    def mode(self) -> Mode:
        """What happens to connections; see the class."""
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        if mode not in get_args(Mode):
            raise ValueError(mode)
        self._call(self._switch(mode))

    def redirect(self, port: int) -> None:
        """Lead new connections to another server, as a name does after a failover."""
        self._upstream_port = port

    def drop(self) -> None:
        """Reset all open connections, on both sides."""
        self._call(self._drop())

    def close(self) -> None:
        """Reset all connections and end the thread."""
        self._call(self._finish())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    # -- in the proxy's thread -----------------------------------------------

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _switch(self, mode: Mode) -> None:
        if mode == "refuse":
            self._server.close()
        elif self._mode == "refuse":
            await self._listen()
        self._mode = mode
        if mode == "blackhole":
            self._flow.clear()
        else:
            self._flow.set()

    async def _drop(self) -> None:
        for writer in list(self._writers):
            _reset(writer)

    async def _finish(self) -> None:
        self._server.close()
        self._flow.set()  # whatever waits in a black hole can end
        deadline = self._loop.time() + 5
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            await self._drop()  # again: one may just have been accepted, or connected upstream
            await asyncio.wait(tasks, timeout=0.02)
            assert self._loop.time() < deadline, tasks

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self._mode == "reject":
            return _reset(writer)
        try:
            upstream = await asyncio.open_connection("127.0.0.1", self._upstream_port)
        except OSError:
            return _reset(writer)
        self._writers |= {writer, upstream[1]}
        try:
            await asyncio.gather(
                self._pump(reader, upstream[1]), self._pump(upstream[0], writer, answers=True)
            )
        finally:
            self._writers -= {writer, upstream[1]}

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool = False
    ) -> None:
        with contextlib.suppress(OSError), contextlib.closing(writer):
            while data := await reader.read(65536):
                if self.delay:
                    await asyncio.sleep(self.delay)
                await self._flow.wait()
                if not (answers and self._mode == "half"):
                    writer.write(data)
                    await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    if writer.is_closing():
        return
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()
