"""Two ways to limit a wait for a server: poll its socket, or shut the socket down."""

from __future__ import annotations

import select
import socket
import threading
import time
from contextlib import suppress

from ..pooling.descriptors import Descriptor


class Deadline:
    """Waits on a socket; all waits share one time limit."""

    def __init__(self, descriptor: int, timeout: float) -> None:
        """Start the time limit of ``timeout`` seconds."""
        self._descriptor = descriptor
        self._timeout = timeout
        self._end = time.monotonic() + timeout

    def wait(self, *, write: bool = False) -> bool:
        """Wait until the socket can be read (or written); return False when the time is up."""
        left = max(0.0, self._end - time.monotonic())
        # Not select.select(): it fails on descriptors above 1023.
        if hasattr(select, "poll"):
            poll = select.poll()
            poll.register(self._descriptor, select.POLLOUT if write else select.POLLIN)
            return bool(poll.poll(left * 1000))
        one = [self._descriptor]
        return any(select.select([] if write else one, one if write else [], [], left))

    def require(self, *, write: bool = False) -> None:
        """Like ``wait``, but raise TimeoutError when the time is up."""
        if not self.wait(write=write):
            raise TimeoutError(f"no answer within {self._timeout:g} s")


class Cutter:
    """Shuts a socket down when the time is up, which ends any wait in the driver."""

    def __init__(self, descriptor: int, timeout: float) -> None:
        """Start the time limit of ``timeout`` seconds."""
        # A copy of our own: a driver that gives up closes its descriptor, and the number may
        # soon belong to another file.
        self._copy: Descriptor | None = Descriptor(socket.dup(descriptor))
        self._has_cut = False
        self._timer = threading.Timer(timeout, self._cut)
        self._timer.daemon = True
        self._timer.start()

    def stop(self) -> bool:
        """End the time limit; return whether it had passed."""
        self._timer.cancel()
        self._timer.join()
        if copy := self._take_copy():
            socket.close(copy.number)
        return self._has_cut

    def _cut(self) -> None:
        self._has_cut = True
        copy = self._take_copy()
        if copy is None:
            return
        # The socket object is made only now: it may make the socket non-blocking, and the
        # driver uses the same socket.
        with socket.socket(fileno=copy.number) as closing, suppress(OSError):
            closing.shutdown(socket.SHUT_RDWR)

    def _take_copy(self) -> Descriptor | None:
        """Return the copy, once; None if other code closed it, and its number is another file's."""
        copy, self._copy = self._copy, None
        return copy if copy is not None and copy.is_intact else None
