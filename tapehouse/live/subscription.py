"""What waits for somebody who listens to a stream: in order, never more than so much, and never keeping the stream."""

import threading
from collections import deque
from collections.abc import Callable, Collection
from enum import Enum
from typing import Final, TypeAlias

from tapehouse.errors import SubscriberTooSlow
from tapehouse.live.records import LiveBook, LiveCandle, LiveRow

# A dataset, and of candles the name of a timeframe.
SeriesName: TypeAlias = tuple[str, str | None]

# Who is so many trades and closed candles behind is told to be quicker, for what comes is never dropped without a word.
MOST_WAITING: Final = 10_000


class Turn(Enum):
    """Where what is live of a series begins, has a hole, or ends."""

    OPENED = "opened"
    BROKEN = "broken"
    CLOSED = "closed"


Told: TypeAlias = tuple[SeriesName, LiveRow | Turn]


class LiveSubscription:
    """What is told of some series of one instrument, from when it is made until `close`.

    Of order books and candles that form only the newest waits; trades and closed candles all do. `wake` is called, in
    the thread of the stream, when something is there and nothing was; it must neither wait nor raise.
    """

    def __init__(self, names: Collection[SeriesName], wake: Callable[[], None], leave: Callable[[], None]) -> None:
        self.names = frozenset(names)
        self._wake, self._leave = wake, leave
        self._lock = threading.Lock()
        self._waiting: deque[tuple[SeriesName, LiveRow | Turn | None]] = deque()
        # What waits in the place of a None, by series.
        self._newest: dict[SeriesName, LiveRow] = {}
        self._is_behind = False

    def tell(self, name: SeriesName, what: LiveRow | Turn) -> None:
        """Let it wait to be taken."""
        with self._lock:
            was_empty = not self._waiting
            if self._is_behind:
                return
            if isinstance(what, LiveBook) or (isinstance(what, LiveCandle) and not what.is_closed):
                if name not in self._newest:
                    self._waiting.append((name, None))
                self._newest[name] = what
            elif len(self._waiting) >= MOST_WAITING:
                self._is_behind = True
            else:
                if isinstance(what, LiveCandle) and name in self._newest:
                    # It has closed: how it formed is of the past.
                    self._waiting.remove((name, None))
                    del self._newest[name]
                self._waiting.append((name, what))
        if was_empty:
            self._wake()

    def take(self) -> list[Told]:
        """All that waits, in its order; raises SubscriberTooSlow once what waited before it was too much is taken."""
        with self._lock:
            taken = [(name, self._newest.pop(name) if what is None else what) for name, what in self._waiting]
            self._waiting.clear()
            if self._is_behind and not taken:
                raise SubscriberTooSlow(
                    f"The subscriber fell {MOST_WAITING:,} events behind the stream: hand events on to a task of your "
                    "own and do slow things there, or subscribe to less. What came since is not given; it is stored, "
                    "and can be read."
                )
        return taken

    def close(self) -> None:
        """Be told nothing any more."""
        self._leave()
