"""numpy columns as PostgreSQL parameters and COPY data, with no Python object a row.

Layouts are those of the binary protocol: arrays as `array_recv` reads them and COPY tuples as
described under "Binary Format" in PostgreSQL's COPY reference.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Dumper, Loader
from psycopg.pq import Format

from tapehouse.candle import Float64Array, Int64Array
from tapehouse.trade import Int16Array, StrArray

PG_EPOCH_US: Final = 946_684_800_000_000  # 2000-01-01 UTC, the zero of timestamptz
# Dimensions, whether there are NULLs, element type, length, lower bound.
_ARRAY_HEADER: Final = struct.Struct(">iiiii")
_ARRAY_DIMENSIONS: Final = struct.Struct(">i")
# A multirange is the number of its ranges, and each range its length, flags, and bounds with their lengths.
_MULTIRANGE_HEADER_BYTES: Final = 4
_RANGE: Final = np.dtype(
    [
        ("bytes", ">i4"),
        ("flags", "u1"),
        ("lower_bytes", ">i4"),
        ("lower", ">i8"),
        ("upper_bytes", ">i4"),
        ("upper", ">i8"),
    ]
)
_TEXT_OID: Final = 25
_FIRST_BEYOND_ASCII: Final = 0x80
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


@dataclass(frozen=True, slots=True, eq=False)
class IntegerColumn:
    """A column of int8: int64, shape (n,)."""

    values: Int64Array
    oid: ClassVar[int] = 20
    array_oid: ClassVar[int] = 1016
    layout: ClassVar[str] = ">i8"

    def wire_values(self) -> Int64Array:
        """The values as PostgreSQL keeps them."""
        return self.values


@dataclass(frozen=True, slots=True, eq=False)
class SmallintColumn:
    """A column of int2: int16, shape (n,)."""

    values: Int16Array
    oid: ClassVar[int] = 21
    array_oid: ClassVar[int] = 1005
    layout: ClassVar[str] = ">i2"

    def wire_values(self) -> Int16Array:
        """The values as PostgreSQL keeps them."""
        return self.values


class TextColumn:
    """A column of text, shape (n,), which must not contain or end with NUL; `values` are kept as UTF-8."""

    array_oid: ClassVar[int] = 1009

    def __init__(self, values: StrArray) -> None:
        self.values = _utf8(values)

    @property
    def lengths(self) -> Int64Array:
        """How many bytes each text has."""
        return np.char.str_len(self.values)

    @property
    def longest_bytes(self) -> int:
        """How many bytes the longest text has."""
        return int(self.lengths.max(initial=0))


FixedColumn: TypeAlias = TimeColumn | FloatColumn | IntegerColumn | SmallintColumn
Column: TypeAlias = FixedColumn | TextColumn


class BytesLoader(Loader):
    """Binary values as they come, for the `received_` functions to decode all at once."""

    format = Format.BINARY

    def load(self, data: Buffer) -> bytes:
        """The bytes."""
        return bytes(data)


def register_columns(connection: psycopg.Connection[Any]) -> None:
    """Teach the connection to send columns as array parameters, and to read binary arrays as numpy arrays."""
    for column in (TimeColumn, FloatColumn, IntegerColumn, SmallintColumn):
        connection.adapters.register_dumper(column, _dumper_of(column.array_oid))
    connection.adapters.register_dumper(TextColumn, _TextColumnDumper)
    connection.adapters.register_loader(TimeColumn.array_oid, _TimeArrayLoader)
    connection.adapters.register_loader(FloatColumn.array_oid, _FloatArrayLoader)
    connection.adapters.register_loader(IntegerColumn.array_oid, _IntegerArrayLoader)
    connection.adapters.register_loader(SmallintColumn.array_oid, _SmallintArrayLoader)


def copy_tuples(constants: Sequence[int], columns: Sequence[Column]) -> bytearray:
    """COPY BINARY data: each tuple holds the int4 constants, then one value of every column.

    Of the columns at most one may be of text; tuples are then grouped by its lengths.
    """
    texts = [column for column in columns if isinstance(column, TextColumn)]
    if not texts:
        groups = [(np.arange(len(columns[0].values)), 0)]
    else:
        lengths = texts[0].lengths
        groups = [(np.flatnonzero(lengths == length), int(length)) for length in np.flatnonzero(np.bincount(lengths))]
    templates = [_template(constants, columns, text_bytes) for _, text_bytes in groups]
    sizes = [len(lines) * template.itemsize for (lines, _), template in zip(groups, templates, strict=True)]
    # One buffer from header to trailer: copies of a megabyte cost more than what is put into them.
    data = bytearray(len(_COPY_HEADER) + sum(sizes) + len(_COPY_TRAILER))
    data[: len(_COPY_HEADER)] = _COPY_HEADER
    data[-len(_COPY_TRAILER) :] = _COPY_TRAILER
    offset = len(_COPY_HEADER)
    for (lines, _), template, size in zip(groups, templates, sizes, strict=True):
        tuples = np.frombuffer(data, dtype=template.dtype, count=len(lines), offset=offset)
        tuples[:] = template
        for number, column in enumerate(columns):
            if template.dtype[f"column{number}"].itemsize:
                values = column.values if isinstance(column, TextColumn) else column.wire_values()
                tuples[f"column{number}"] = values if len(groups) == 1 else values[lines]
        offset += size
    return data


def received_times(values: Sequence[bytes]) -> Int64Array:
    """Values of timestamptz as they were received, in microseconds since 1970 UTC."""
    return received_integers(values) + PG_EPOCH_US


def received_integers(values: Sequence[bytes]) -> Int64Array:
    """Values of int8 as they were received."""
    return np.frombuffer(b"".join(values), dtype=IntegerColumn.layout).astype(np.int64)


def received_float_arrays(arrays: Sequence[bytes]) -> tuple[Float64Array, Int64Array]:
    """The elements of float8 arrays as they were received, one after the other, and how many each has."""
    layout = _element(FloatColumn.layout)
    # An array without elements ends within the header.
    bodies = [array[_ARRAY_HEADER.size :] for array in arrays]
    count = np.array([len(body) // layout.itemsize for body in bodies], dtype=np.int64)
    return np.frombuffer(b"".join(bodies), dtype=layout)["value"].astype(np.float64), count


def received_ranges(multiranges: Sequence[bytes]) -> tuple[Int64Array, Int64Array, Int64Array]:
    """The ranges of values of tstzmultirange as they were received, one multirange after the other.

    Their bounds in microseconds since 1970 UTC, and how many ranges each multirange has. Ranges must be
    half-open and bounded, as those of the ledgers are.
    """
    bodies = [multirange[_MULTIRANGE_HEADER_BYTES:] for multirange in multiranges]
    count = np.array([len(body) // _RANGE.itemsize for body in bodies], dtype=np.int64)
    ranges = np.frombuffer(b"".join(bodies), dtype=_RANGE)
    lower_us, upper_us = (ranges[name].astype(np.int64) + PG_EPOCH_US for name in ("lower", "upper"))
    return lower_us, upper_us, count


def _template(constants: Sequence[int], columns: Sequence[Column], text_bytes: int) -> np.ndarray:
    """A tuple with everything but the columns' values, shape (1,)."""
    layouts = [f"S{text_bytes}" if isinstance(column, TextColumn) else column.layout for column in columns]
    fields: list[tuple[str, str]] = [("fields", ">i2")]
    for number in range(len(constants)):
        fields += [(f"constant_bytes{number}", ">i4"), (f"constant{number}", ">i4")]
    for number, layout in enumerate(layouts):
        fields += [(f"column_bytes{number}", ">i4"), (f"column{number}", layout)]
    template = np.zeros(1, dtype=fields)
    template["fields"] = len(constants) + len(columns)
    for number, constant in enumerate(constants):
        template[f"constant_bytes{number}"] = 4
        template[f"constant{number}"] = constant
    for number in range(len(columns)):
        template[f"column_bytes{number}"] = template.dtype[f"column{number}"].itemsize
    return template


def _utf8(values: StrArray) -> npt.NDArray[np.bytes_]:
    values = np.ascontiguousarray(values)
    characters = values.view(np.uint32)
    if (characters < _FIRST_BEYOND_ASCII).all():
        # ASCII is its own UTF-8, and takes no Python call a text.
        return characters.astype(np.uint8).view(f"S{values.itemsize // characters.itemsize}")
    return np.char.encode(values, "utf-8")


class _ColumnDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: FixedColumn) -> bytes | bytearray:
        count = len(obj.values)
        if count == 0:
            return struct.pack(">iii", 0, 0, obj.oid)
        # One dimension, no NULLs, lower bound 1.
        header = _ARRAY_HEADER.pack(1, 0, obj.oid, count, 1)
        layout = _element(obj.layout)
        data = bytearray(len(header) + count * layout.itemsize)
        data[: len(header)] = header
        elements = np.frombuffer(data, dtype=layout, offset=len(header))
        elements["bytes"] = layout["value"].itemsize
        elements["value"] = obj.wire_values()
        return data


def _dumper_of(array_oid: int) -> type[_ColumnDumper]:
    return type("_ColumnDumper", (_ColumnDumper,), {"oid": array_oid})


class _TextColumnDumper(Dumper):
    format = Format.BINARY
    oid = TextColumn.array_oid

    def dump(self, obj: TextColumn) -> bytes:
        texts: list[bytes] = obj.values.tolist()
        if not texts:
            return struct.pack(">iii", 0, 0, _TEXT_OID)
        parts = [part for text in texts for part in (struct.pack(">i", len(text)), text)]
        return _ARRAY_HEADER.pack(1, 0, _TEXT_OID, len(texts), 1) + b"".join(parts)


class _TimeArrayLoader(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> Int64Array:
        return _elements(data, TimeColumn.layout).astype(np.int64) + PG_EPOCH_US


class _FloatArrayLoader(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> Float64Array:
        return _elements(data, FloatColumn.layout).astype(np.float64)


class _IntegerArrayLoader(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> Int64Array:
        return _elements(data, IntegerColumn.layout).astype(np.int64)


class _SmallintArrayLoader(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> Int16Array:
        return _elements(data, SmallintColumn.layout).astype(np.int16)


def _elements(data: Buffer, layout: str) -> np.ndarray:
    """The values of an array that holds no NULL, in its shape."""
    (dimensions,) = _ARRAY_DIMENSIONS.unpack_from(data)
    if dimensions == 1:
        return np.frombuffer(data, dtype=_element(layout), offset=_ARRAY_HEADER.size)["value"]
    header = np.frombuffer(data, dtype=">i4", count=3 + 2 * dimensions)
    shape = header[3::2] if dimensions else (0,)
    return np.frombuffer(data, dtype=_element(layout), offset=header.nbytes)["value"].reshape(shape)


@cache
def _element(layout: str) -> np.dtype[np.void]:
    return np.dtype([("bytes", ">i4"), ("value", layout)])
