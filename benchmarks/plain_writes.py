"""Plain writes: rows put into a hypertable with nothing kept account of, the baselines of writing.

Parameters and buffers are made ready before the clock starts; there is a commit a batch, as there is
for ours.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import LiteralString, TypeVar

from tapehouse.store.arrays import Column, copy_tuples
from tapehouse.store.connection import Connection

T = TypeVar("T")
# The columns of a batch under their names in SQL.
Columns = Mapping[str, Column]


def copy_time_s(
    connection: Connection, statement: LiteralString, key: Mapping[str, int], batches: Sequence[Columns]
) -> float:
    """The seconds that a COPY in takes for each of the batches; the key's columns come first."""
    buffers = [copy_tuples(tuple(key.values()), tuple(columns.values())) for columns in batches]

    def copy_in(buffer: bytearray) -> None:
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            copy.write(buffer)

    return _committed_time_s(connection, buffers, copy_in)


def insert_time_s(
    connection: Connection, statement: LiteralString, key: Mapping[str, int], batches: Sequence[Columns]
) -> float:
    """The seconds that an INSERT takes for each of the batches."""
    parameters = [{**key, **columns} for columns in batches]
    return _committed_time_s(connection, parameters, lambda one: connection.execute(statement, one))


def _committed_time_s(connection: Connection, parts: Sequence[T], write: Callable[[T], object]) -> float:
    started_s = time.perf_counter()
    for part in parts:
        with connection.transaction():
            write(part)
    return time.perf_counter() - started_s
