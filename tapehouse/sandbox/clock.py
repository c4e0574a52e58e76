"""Clocks of the exchanges: this moment, or one that replays a stretch of time as fast as asked."""

import threading
import time

from tapehouse.errors import InputError

_FASTEST = 1000.0


def wall_clock_ms() -> int:
    """The time by our own clock, in milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


class ReplayClock:
    """A clock that begins at `start_ms` and runs `speed` times as fast as ours: call it for its time in milliseconds.

    It stands still until clients have subscribed to `waits_for` streams of the sandbox, so that they miss
    nothing while they connect, or until `start`. Any thread may ask it. Raises InputError for a speed that is
    not from 1 to 1000.
    """

    def __init__(self, start_ms: int, *, speed: float = 1.0, waits_for: int = 1) -> None:
        if not 1 <= speed <= _FASTEST:
            raise InputError(f"A speed of {speed:g} makes no sense: give one from 1 to {_FASTEST:g}.")
        self._start_ms = start_ms
        self._speed = speed
        self._waits_for = waits_for
        self._started_at_ns: int | None = None
        self._lock = threading.Lock()
        self.note_subscriptions(0)

    def __call__(self) -> int:
        """Its time, in milliseconds since 1970 UTC."""
        if self._started_at_ns is None:
            return self._start_ms
        return self._start_ms + int((time.monotonic_ns() - self._started_at_ns) * self._speed) // 1_000_000

    def start(self) -> None:
        """Let it run, where it does not yet."""
        with self._lock:
            if self._started_at_ns is None:
                self._started_at_ns = time.monotonic_ns()

    def note_subscriptions(self, count: int) -> None:
        """Take note of that many more streams that a client has subscribed to."""
        with self._lock:
            self._waits_for -= count
        if self._waits_for <= 0:
            self.start()
