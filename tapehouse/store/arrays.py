"""numpy columns as PostgreSQL parameters and COPY data, with no Python object a row.

Layouts are those of the binary protocol: arrays as `array_recv` reads them and COPY tuples as
described under "Binary Format" in PostgreSQL's COPY reference.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Dumper, Loader
from psycopg.pq import Format

from tapehouse.candle import Float64Array, Int64Array

PG_EPOCH_US: Final = 946_684_800_000_000  # 2000-01-01 UTC, the zero of timestamptz
# Dimensions, whether there are NULLs, element type, length, lower bound.
_ARRAY_HEADER: Final = struct.Struct(">iiiii")
_COPY_HEADER: Final = b"PGCOPY\n\xff\r\n\x00" + struct.pack(">ii", 0, 0)
_COPY_TRAILER: Final = struct.pack(">h", -1)


@dataclass(frozen=True, slots=True, eq=False)
class TimeColumn:
    """A column of timestamptz: int64 microseconds since 1970 UTC, shape (n,)."""

    values: Int64Array
    oid: ClassVar[int] = 1184
    array_oid: ClassVar[int] = 1185
    layout: ClassVar[str] = ">i8"

    def wire_values(self) -> Int64Array:
        """The values as PostgreSQL counts them, from 2000."""
        return self.values - PG_EPOCH_US


@dataclass(frozen=True, slots=True, eq=False)
class FloatColumn:
    """A column of float8: float64, shape (n,)."""

    values: Float64Array
    oid: ClassVar[int] = 701
    array_oid: ClassVar[int] = 1022
    layout: ClassVar[str] = ">f8"

    def wire_values(self) -> Float64Array:
        """The values as PostgreSQL keeps them."""
        return self.values


Column = TimeColumn | FloatColumn


def register_columns(connection: psycopg.Connection[Any]) -> None:
    """Teach the connection to send columns as array parameters, and to read binary arrays as numpy arrays."""
    connection.adapters.register_dumper(TimeColumn, _TimeColumnDumper)
    connection.adapters.register_dumper(FloatColumn, _FloatColumnDumper)
    connection.adapters.register_loader(TimeColumn.array_oid, _TimeArrayLoader)
    connection.adapters.register_loader(FloatColumn.array_oid, _FloatArrayLoader)


def copy_tuples(constants: Sequence[int], columns: Sequence[Column]) -> bytearray:
    """COPY BINARY data: each tuple holds the int4 constants, then one value of every column."""
    fields: list[tuple[str, str]] = [("fields", ">i2")]
    for number in range(len(constants)):
        fields += [(f"constant_bytes{number}", ">i4"), (f"constant{number}", ">i4")]
    for number, column in enumerate(columns):
        fields += [(f"column_bytes{number}", ">i4"), (f"column{number}", column.layout)]
    template = np.zeros(1, dtype=fields)
    template["fields"] = len(constants) + len(columns)
    for number, constant in enumerate(constants):
        template[f"constant_bytes{number}"] = 4
        template[f"constant{number}"] = constant
    for number in range(len(columns)):
        template[f"column_bytes{number}"] = 8
    # One buffer from header to trailer: copies of a megabyte cost more than what is put into them.
    count = len(columns[0].values)
    data = bytearray(len(_COPY_HEADER) + count * template.itemsize + len(_COPY_TRAILER))
    data[: len(_COPY_HEADER)] = _COPY_HEADER
    data[-len(_COPY_TRAILER) :] = _COPY_TRAILER
    tuples = np.frombuffer(data, dtype=template.dtype, count=count, offset=len(_COPY_HEADER))
    tuples[:] = template
    for number, column in enumerate(columns):
        tuples[f"column{number}"] = column.wire_values()
    return data


class _ColumnDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Column) -> bytes | bytearray:
        count = len(obj.values)
        if count == 0:
            return struct.pack(">iii", 0, 0, obj.oid)
        # One dimension, no NULLs, lower bound 1.
        header = _ARRAY_HEADER.pack(1, 0, obj.oid, count, 1)
        layout = _element(obj.layout)
        data = bytearray(len(header) + count * layout.itemsize)
        data[: len(header)] = header
        elements = np.frombuffer(data, dtype=layout, offset=len(header))
        elements["bytes"] = 8
        elements["value"] = obj.wire_values()
        return data


class _TimeColumnDumper(_ColumnDumper):
    oid = TimeColumn.array_oid


class _FloatColumnDumper(_ColumnDumper):
    oid = FloatColumn.array_oid


class _TimeArrayLoader(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> Int64Array:
        return _elements(data, TimeColumn.layout).astype(np.int64) + PG_EPOCH_US


class _FloatArrayLoader(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> Float64Array:
        return _elements(data, FloatColumn.layout).astype(np.float64)


def _elements(data: Buffer, layout: str) -> np.ndarray:
    """The values of an array of one dimension that holds no NULL."""
    return np.frombuffer(data, dtype=_element(layout), offset=_ARRAY_HEADER.size)["value"]


def _element(layout: str) -> np.dtype[np.void]:
    return np.dtype([("bytes", ">i4"), ("value", layout)])
