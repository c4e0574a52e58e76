"""The record of what was asked of the sandbox."""

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from tapehouse.sandbox.answer import Ask

_MOST_KEPT: Final = 50_000


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was made, and the status of its answer; 0 where none was given."""

    host: str
    method: str
    path: str
    query: Mapping[str, str]
    status: int
    at: datetime


class Record:
    """The latest 50,000 requests; may be read from any thread while the sandbox answers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: deque[Asked] = deque(maxlen=_MOST_KEPT)

    def add(self, ask: Ask, status: int) -> None:
        """Note a request that has just been answered."""
        with self._lock:
            self._asked.append(Asked(ask.host, ask.method, ask.path, ask.query, status, datetime.now(UTC)))

    def all(self) -> list[Asked]:
        """The requests, oldest first."""
        with self._lock:
            return list(self._asked)
