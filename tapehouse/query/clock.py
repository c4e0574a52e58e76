"""The server's clock, as far as answers have told it: never ahead of it."""

from datetime import datetime, timedelta
from threading import Lock
from time import monotonic


class Clock:
    """Tells the time by the server's clock, or slightly less; any number of threads may ask and tell."""

    def __init__(self) -> None:
        self._lock = Lock()
        # The server's time when our own clock stood at 0, or slightly less.
        self._base: datetime | None = None

    def now(self) -> datetime | None:
        """The time by the server's clock, or slightly less; None if it was never told."""
        return None if self._base is None else self._base + timedelta(seconds=monotonic())

    def note(self, as_of: datetime, asked_at_s: float) -> None:
        """Note that the server's clock showed that time at some moment since `asked_at_s` of our monotonic one.

        Of what is told, that counts which came soonest after the server said it: a long read tells little. Only where
        the server's clock was put back does the time go back.
        """
        earliest = as_of - timedelta(seconds=monotonic())
        latest = as_of - timedelta(seconds=asked_at_s)
        with self._lock:
            if self._base is None or self._base < earliest or self._base > latest:
                self._base = earliest
