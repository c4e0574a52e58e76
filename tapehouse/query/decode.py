"""COPY BINARY data as numpy columns, with no Python object a row.

The layout is that of PostgreSQL's COPY reference, "Binary Format", for tuples that all have the
same length: no NULLs, and texts and arrays of one length. Where the bytes come from is
`rows`' business.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from tapehouse.candle import Float64Array, Int64Array
from tapehouse.errors import StoreError
from tapehouse.store.arrays import PG_EPOCH_US
from tapehouse.trade import Int16Array

BytesArray = npt.NDArray[np.bytes_]

_HEADER_BYTES: Final = 19
_TRAILER: Final = b"\xff\xff"
_BROKEN: Final = "The database's answer was cut short or is not in the expected layout: ask again."


@dataclass(frozen=True, slots=True)
class Field:
    """Columns of one type that follow each other in every tuple, decoded into one array.

    `cell` is a column on the wire, its value under "value"; the array has the shape (n, *shape),
    in C or Fortran order.
    """

    name: str
    cell: np.dtype[np.void]
    columns: tuple[int, ...]
    dtype: str
    shape: tuple[int, ...] = ()
    order: Literal["C", "F"] = "C"

    @classmethod
    def integer(cls, name: str) -> "Field":
        """A column of int8 or timestamptz."""
        return cls(name, _cell(">i8"), (), "int64")

    @classmethod
    def smallint(cls, name: str) -> "Field":
        """A column of int2."""
        return cls(name, _cell(">i2"), (), "int16")

    @classmethod
    def floats(cls, name: str, count: int) -> "Field":
        """So many columns of float8, each contiguous in memory."""
        return cls(name, _cell(">f8"), (count,), "float64", (count,), "F")

    @classmethod
    def text(cls, name: str, length_bytes: int) -> "Field":
        """A column of texts of one length."""
        return cls(name, _cell(f"S{length_bytes}"), (), f"S{length_bytes}")

    @classmethod
    def float_arrays(cls, name: str, count: int, length: int) -> "Field":
        """So many columns of float8[], all of one length and without NULLs; each tuple contiguous in memory."""
        header = [("bytes", ">i4"), ("dimensions", ">i4"), ("nulls", ">i4"), ("type", ">i4"), ("size", ">i4", (2,))]
        cell = np.dtype([*header, ("value", _cell(">f8"), (length,))])
        return cls(name, cell, (count,), "float64", (count, length))

    def values(self, tuples: np.ndarray) -> np.ndarray:
        """What the tuples hold in these columns."""
        values = tuples[self.name]["value"]
        return values if len(self.shape) == len(self.columns) else values["value"]


class CopyDecoder:
    """Gathers the answers of one or more COPY statements, fed in pieces of any size.

    It decodes as it is fed, so that it never holds more than one piece of raw data beside the
    result; `expected` rows are made room for, more make it grow.
    """

    def __init__(self, fields: Sequence[Field], expected: int = 0) -> None:
        self._fields = fields
        self._columns = sum(int(np.prod(field.columns)) for field in fields)
        layout: list[Any] = [("columns", ">i2"), *((field.name, field.cell, field.columns) for field in fields)]
        self._tuple = np.dtype(layout)
        # Pages of memory that are never written are never taken, so a generous guess is free.
        self._arrays = self._room(expected)
        self._room_rows = expected
        self._count = 0
        self._rest = b""
        self._skip = _HEADER_BYTES

    def __len__(self) -> int:
        return self._count

    @property
    def tuple_bytes(self) -> int:
        """The length of every tuple."""
        return self._tuple.itemsize

    def feed(self, data: bytes | memoryview) -> None:
        """Take the next bytes of the current answer; raises StoreError where its tuples have other columns."""
        if self._rest:
            data = self._rest + data
        if len(data) < self._skip:
            self._rest = bytes(data)
            return
        count = (len(data) - self._skip) // self.tuple_bytes
        self._append(np.frombuffer(data, dtype=self._tuple, count=count, offset=self._skip))
        self._rest = bytes(data[self._skip + count * self.tuple_bytes :])
        self._skip = 0

    def end_answer(self) -> None:
        """The current answer is complete; another may follow. Raises StoreError if it was cut short."""
        if self._skip or self._rest != _TRAILER:
            raise StoreError(_BROKEN)
        self._rest = b""
        self._skip = _HEADER_BYTES

    def start_over(self) -> None:
        """Gather what follows in new arrays; those given out stay as they are."""
        self._arrays = self._room(self._room_rows)
        self._count = 0

    def times_us(self, name: str) -> Int64Array:
        """A column of timestamptz so far, in microseconds since 1970 UTC, shape (n,)."""
        return self._arrays[name][: self._count] + PG_EPOCH_US

    def integers(self, name: str) -> Int64Array:
        """A column of int8 so far, shape (n,)."""
        return self._arrays[name][: self._count]

    def smallints(self, name: str) -> Int16Array:
        """A column of int2 so far, shape (n,)."""
        return self._arrays[name][: self._count]

    def texts(self, name: str) -> BytesArray:
        """A column of texts so far, shape (n,)."""
        return self._arrays[name][: self._count]

    def floats(self, name: str) -> Float64Array:
        """Columns of float8 so far, shape (columns, n), each contiguous; or of arrays, shape (n, columns, length)."""
        values = self._arrays[name][: self._count]
        return values.T if values.ndim == 2 else values

    def _append(self, tuples: np.ndarray) -> None:
        if (tuples["columns"] != self._columns).any():
            raise StoreError(_BROKEN)
        stop = self._count + len(tuples)
        if stop > self._room_rows:
            self._grow(max(stop, 2 * self._room_rows))
        for field in self._fields:
            self._arrays[field.name][self._count : stop] = field.values(tuples)
        self._count = stop

    def _grow(self, rows: int) -> None:
        arrays, self._arrays = self._arrays, self._room(rows)
        for name, array in arrays.items():
            self._arrays[name][: self._count] = array[: self._count]
        self._room_rows = rows

    def _room(self, rows: int) -> dict[str, np.ndarray]:
        return {field.name: np.empty((rows, *field.shape), field.dtype, field.order) for field in self._fields}


def _cell(layout: str) -> np.dtype[np.void]:
    return np.dtype([("bytes", ">i4"), ("value", layout)])
