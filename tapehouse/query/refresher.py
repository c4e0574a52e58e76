"""A thread that reads again what is asked about, as soon as it has changed."""

import threading
from collections.abc import Callable
from time import monotonic

from tapehouse.query.changes import Changes

_LOOK_S = 0.5
# However often something changes, it is read at most so often, and no more than half of the time.
_LEAST_PAUSE_S = 0.05


class Refresher:
    """Calls `refresh` after changes that were heard, and now and then, in a thread of its own."""

    def __init__(self, changes: Changes, refresh: Callable[[], None]) -> None:
        self._changes, self._refresh = changes, refresh
        self._closed = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, if that has not been done."""
        with self._starting:
            if self._thread is None and not self._closed.is_set():
                self._thread = threading.Thread(target=self._run, name="tapehouse-refresher", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Stop; returns when nothing is read any more."""
        self._closed.set()
        self._changes.wake()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._closed.is_set():
            self._changes.wait(_LOOK_S)
            if not self._closed.is_set():
                began_at_s = monotonic()
                self._refresh()
                self._closed.wait(max(_LEAST_PAUSE_S, monotonic() - began_at_s))
