"""COPY BINARY data as numpy columns, with no Python object a row.

The layout is that of PostgreSQL's COPY reference, "Binary Format", for tuples of one
timestamptz and five float8, none of them NULL. Where the bytes come from is `rows`' business.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from tapehouse.candle import VALUE_COLUMNS, Float64Array, Int64Array
from tapehouse.errors import StoreError
from tapehouse.store.arrays import PG_EPOCH_US

_HEADER_BYTES: Final = 19
_TRAILER: Final = b"\xff\xff"
_TUPLE: Final = np.dtype(
    [("fields", ">i2"), ("time_bytes", ">i4"), ("time", ">i8")]
    + [field for name in VALUE_COLUMNS for field in ((f"{name}_bytes", ">i4"), (name, ">f8"))]
)


@dataclass(frozen=True, slots=True, eq=False)
class Candles:
    """Candles as columns, sorted by open time.

    `time_us` has shape (n,): microseconds since 1970 UTC. `values` has shape (5, n): open,
    high, low, close, volume, in whole ticks and lots, each row contiguous.
    """

    time_us: Int64Array
    values: Float64Array

    def __len__(self) -> int:
        return len(self.time_us)


class CandleDecoder:
    """Gathers the answers of one or more COPY statements, fed in pieces of any size.

    It decodes as it is fed, so that it never holds more than one piece of raw data beside the
    result; `expected` rows are made room for, more make it grow.
    """

    def __init__(self, expected: int) -> None:
        # Pages of memory that are never written are never taken, so a generous guess is free.
        self._time_us: Int64Array = np.empty(expected, dtype=np.int64)
        self._values: Float64Array = np.empty((len(VALUE_COLUMNS), expected))
        self._count = 0
        self._rest = b""
        self._skip = _HEADER_BYTES

    def feed(self, data: bytes | memoryview) -> None:
        """Take the next bytes of the current answer."""
        if self._rest:
            data = self._rest + data
        if len(data) < self._skip:
            self._rest = bytes(data)
            return
        count = (len(data) - self._skip) // _TUPLE.itemsize
        self._append(np.frombuffer(data, dtype=_TUPLE, count=count, offset=self._skip))
        self._rest = bytes(data[self._skip + count * _TUPLE.itemsize :])
        self._skip = 0

    def end_answer(self) -> None:
        """The current answer is complete; another may follow. Raises StoreError if it was cut short."""
        if self._skip or self._rest != _TRAILER:
            raise StoreError("The database's answer was cut short or is not in the expected layout: ask again.")
        self._rest = b""
        self._skip = _HEADER_BYTES

    def candles(self) -> Candles:
        """What was decoded so far."""
        return Candles(self._time_us[: self._count], self._values[:, : self._count])

    def _append(self, tuples: np.ndarray) -> None:
        stop = self._count + len(tuples)
        if stop > len(self._time_us):
            self._grow(max(stop, 2 * len(self._time_us)))
        np.add(tuples["time"], PG_EPOCH_US, out=self._time_us[self._count : stop])
        for row, name in zip(self._values, VALUE_COLUMNS, strict=True):
            row[self._count : stop] = tuples[name]
        self._count = stop

    def _grow(self, room: int) -> None:
        time_us, values = self._time_us, self._values
        self._time_us = np.empty(room, dtype=np.int64)
        self._values = np.empty((len(VALUE_COLUMNS), room))
        self._time_us[: self._count] = time_us[: self._count]
        self._values[:, : self._count] = values[:, : self._count]
