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
from psycopg.adapt import Dumper
from psycopg.pq import Format

from tapehouse.candle import Float64Array, Int64Array

PG_EPOCH_US: Final = 946_684_800_000_000  # 2000-01-01 UTC, the zero of timestamptz
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
    """Teach the connection to send columns as array parameters."""
    connection.adapters.register_dumper(TimeColumn, _TimeColumnDumper)
    connection.adapters.register_dumper(FloatColumn, _FloatColumnDumper)


def copy_tuples(constants: Sequence[int], columns: Sequence[Column]) -> bytes:
    """COPY BINARY data: each tuple holds the int4 constants, then one value of every column."""
    layout: list[tuple[str, str]] = [("fields", ">i2")]
    for number in range(len(constants)):
        layout += [(f"constant_bytes{number}", ">i4"), (f"constant{number}", ">i4")]
    for number, column in enumerate(columns):
        layout += [(f"column_bytes{number}", ">i4"), (f"column{number}", column.layout)]
    tuples = np.empty(len(columns[0].values), dtype=layout)
    tuples["fields"] = len(constants) + len(columns)
    for number, constant in enumerate(constants):
        tuples[f"constant_bytes{number}"] = 4
        tuples[f"constant{number}"] = constant
    for number, column in enumerate(columns):
        tuples[f"column_bytes{number}"] = 8
        tuples[f"column{number}"] = column.wire_values()
    return _COPY_HEADER + tuples.tobytes() + _COPY_TRAILER


class _ColumnDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Column) -> bytes:
        count = len(obj.values)
        if count == 0:
            return struct.pack(">iii", 0, 0, obj.oid)
        elements = np.empty(count, dtype=[("size", ">i4"), ("value", obj.layout)])
        elements["size"] = 8
        elements["value"] = obj.wire_values()
        # One dimension, no NULLs, lower bound 1.
        return struct.pack(">iiiii", 1, 0, obj.oid, count, 1) + elements.tobytes()


class _TimeColumnDumper(_ColumnDumper):
    oid = TimeColumn.array_oid


class _FloatColumnDumper(_ColumnDumper):
    oid = FloatColumn.array_oid
