"""The content of rows: their number, and a SHA-256 that the server works out too (`sql/queries/digest_*`)."""

import hashlib
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np

from tapehouse.candle import Int64Array

_HOUR_US: Final = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Content:
    """So many rows, and their digest."""

    rows: int
    digest: bytes


class ContentDigest:
    """Digests rows hour by hour, so that neither side has to hold more than an hour of them at once."""

    def __init__(self) -> None:
        self._rows = 0
        self._hours: Any = hashlib.sha256()
        self._hour: Any = None
        self._hour_number = -1

    def add(self, time_us: Int64Array, records: np.ndarray) -> None:
        """Take the next rows, at least one, in their order: their times and each as PostgreSQL sends it in binary."""
        hours = time_us // _HOUR_US
        firsts = np.flatnonzero(np.diff(hours, prepend=hours[0] - 1))
        for first, stop in pairwise([*firsts.tolist(), len(hours)]):
            if hours[first] != self._hour_number:
                self._end_hour()
                self._hour, self._hour_number = hashlib.sha256(), hours[first]
            self._hour.update(np.ascontiguousarray(records[first:stop]).view(np.uint8).data)
        self._rows += len(hours)

    def content(self) -> Content:
        """That of all rows; none may follow."""
        self._end_hour()
        return Content(self._rows, self._hours.digest())

    def _end_hour(self) -> None:
        if self._hour:
            self._hours.update(self._hour.digest())
