"""Rows from the database into columns: COPY out, in portions where the server needs that.

Which rows is the caller's business. The transaction is that in which the facts of the answer
were read.
"""

import io
from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import islice, pairwise, repeat, takewhile
from operator import itemgetter
from typing import Final, Literal

from psycopg.errors import OperationalError, error_from_result
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGconn, PGresult
from psycopg.sql import Composed, Identifier

from tapehouse.query.decode import CopyDecoder
from tapehouse.ranges import TimeRange
from tapehouse.store.connection import Connection, is_embedded
from tapehouse.store.sql import query

# Taken over at once: what stays in the processor's cache.
_BYTES_AT_ONCE: Final = 300_000
# The embedded database builds a whole answer in memory before it sends any of it.
_EMBEDDED_ANSWER_BYTES: Final = 7_500_000


def even_portions(
    connection: Connection, span: TimeRange, decoder: CopyDecoder, *, step: timedelta
) -> Iterator[TimeRange]:
    """The span in the portions to read it in, where rows lie at least `step` apart."""
    start, end = span
    length = min(step * _portion_rows(decoder), end - start) if is_embedded(connection) else end - start
    while start < end:
        yield start, min(start + length, end)
        start += length


def uneven_portions(
    connection: Connection,
    table: Literal["trade", "order_book", "order_book_1s", "imbalance"],
    instrument_id: int,
    span: TimeRange,
    decoder: CopyDecoder,
) -> Iterable[TimeRange]:
    """The span in the portions to read it in, where rows lie anywhere."""
    if not is_embedded(connection):
        return [span]
    start, end = span
    parameters = {"instrument_id": instrument_id, "start": start, "end": end, "rows": _portion_rows(decoder)}
    starts = connection.execute(query("read_portion_starts").format(table=Identifier(table)), parameters)
    return pairwise([start, *(time for (time,) in starts if time > start), end])


def copy_out(connection: Connection, statement: Composed, decoder: CopyDecoder) -> None:
    """Feed the decoder with the answer, in pieces.

    psycopg's own COPY makes several Python objects a row; here the loop over the messages runs
    in C, which leaves the server the slower side.
    """
    pgconn = connection.pgconn
    _expect(pgconn, pgconn.exec_(statement.as_bytes(connection)), ExecStatus.COPY_OUT)
    try:
        messages = takewhile(len, map(itemgetter(1), map(pgconn.get_copy_data, repeat(0))))
        at_once = _BYTES_AT_ONCE // decoder.tuple_bytes + 1
        while data := _gather(messages, at_once):
            decoder.feed(data)
        _finish(pgconn)
        decoder.end_answer()
    except BaseException:
        # The rest of the answer may still be under way: the connection is of no further use.
        connection.close()
        raise


def _portion_rows(decoder: CopyDecoder) -> int:
    return _EMBEDDED_ANSWER_BYTES // decoder.tuple_bytes + 1


def _gather(messages: Iterator[memoryview], at_once: int) -> memoryview:
    gathered = io.BytesIO()
    gathered.writelines(islice(messages, at_once))
    return gathered.getbuffer()


def _finish(pgconn: PGconn) -> None:
    while (result := pgconn.get_result()) is not None:
        _expect(pgconn, result, ExecStatus.COMMAND_OK)


def _expect(pgconn: PGconn, result: PGresult, status: ExecStatus) -> None:
    if result.status == status:
        return
    if pgconn.status == ConnStatus.BAD:
        # That of the result would be of no kind.
        raise OperationalError("server closed the connection unexpectedly")
    raise error_from_result(result)
