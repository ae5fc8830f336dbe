"""Looks at the servers of the clusters in use, so that most reads need not ask them."""

from __future__ import annotations

import logging
import threading
import time

from .cluster import Cluster

logger = logging.getLogger("django_poolrouter.routing")

# Seconds between two looks at a server.
INTERVAL = 1.0
# Seconds without reads after which the threads of a cluster end.
IDLE = 60.0


class Monitor:
    """Runs a daemon thread for each server, so that a server that hangs does not delay the others.

    The threads of a cluster start with the first read that goes to a replica, or that finds no
    replica to go to.  They end when there are no more such reads.
    """

    def __init__(self, interval: float = INTERVAL, idle: float = IDLE) -> None:
        self._interval = interval
        self._idle = idle
        self._lock = threading.Lock()  # guards _watches
        self._watches: dict[Cluster, _Watch] = {}
        self._has_ended = False

    def note_use(self, cluster: Cluster) -> bool:
        """Monitor a cluster, because a read ran on a replica or found none that qualifies.

        Return whether threads look at its servers now.
        """
        watch = self._watches.get(cluster)
        if watch is None:
            self._start(cluster)
            watch = self._watches.get(cluster)
            return watch is not None and bool(watch.threads)
        watch.used = time.monotonic()
        return bool(watch.threads)

    def stop(self, patience: float = 0.5) -> None:
        """End the threads; wait up to ``patience`` seconds.  The next use starts new threads."""
        with self._lock:
            watches, self._watches = list(self._watches.values()), {}
        deadline = time.monotonic() + patience
        for watch in watches:
            watch.ended.set()
        for watch in watches:
            for thread in watch.threads:
                if thread is not threading.current_thread():
                    thread.join(max(0.0, deadline - time.monotonic()))

    def end(self) -> None:
        """Stop for good, because the process ends."""
        self._has_ended = True
        self.stop()

    def _start(self, cluster: Cluster) -> None:
        if cluster.prober is None:
            return
        with self._lock:
            if cluster in self._watches or self._has_ended:
                return
            watch = self._watches[cluster] = _Watch()
            for alias in (cluster.primary, *cluster.replicas):
                thread = threading.Thread(
                    target=self._run,
                    args=(cluster, alias, watch),
                    name=f"poolrouter-monitor-{alias}",
                    daemon=True,
                )
                try:
                    thread.start()
                except RuntimeError as error:  # too many threads, or the interpreter is exiting
                    logger.debug("no thread monitors %r: %s", alias, error)
                else:
                    watch.threads.append(thread)

    def _run(self, cluster: Cluster, alias: str, watch: _Watch) -> None:
        assert cluster.prober is not None
        while not watch.ended.is_set():
            try:
                cluster.prober.look(alias)
            except Exception:
                logger.exception("looking at %r failed", alias)
            if time.monotonic() - watch.used > self._idle:
                self._end(cluster, watch)
            watch.ended.wait(self._interval)

    def _end(self, cluster: Cluster, watch: _Watch) -> None:
        with self._lock:
            watch.ended.set()
            if self._watches.get(cluster) is watch:
                del self._watches[cluster]


class _Watch:
    """The threads that look at one cluster."""

    def __init__(self) -> None:
        self.used = time.monotonic()
        self.ended = threading.Event()
        self.threads: list[threading.Thread] = []
