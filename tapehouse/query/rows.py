"""Rows from the database into columns: COPY out, in portions where the server needs that.

Which rows is the caller's business. The transaction is that in which the facts of the answer
were read.
"""

import io
import selectors
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
    in C, which leaves the server the slower side. Other threads go on while nothing has come.
    """
    pgconn = connection.pgconn
    _expect(pgconn, pgconn.exec_(statement.as_bytes(connection)), ExecStatus.COPY_OUT)
    try:
        for piece in _pieces(pgconn, _BYTES_AT_ONCE // decoder.tuple_bytes + 1):
            decoder.feed(piece)
        decoder.end_answer()
    except BaseException:
        # The rest of the answer may still be under way: the connection is of no further use.
        connection.close()
        raise


def _portion_rows(decoder: CopyDecoder) -> int:
    return _EMBEDDED_ANSWER_BYTES // decoder.tuple_bytes + 1


def _pieces(pgconn: PGconn, messages_at_once: int) -> Iterator[memoryview]:
    """The messages of a COPY, joined.

    Those that have come are taken without waiting, since a wait in libpq would stop all threads of the process.
    """
    with selectors.DefaultSelector() as arrivals:
        arrivals.register(pgconn.socket, selectors.EVENT_READ)
        gathered = io.BytesIO()
        before = 0
        while (result := _take(pgconn, gathered, messages_at_once)) and result.status == ExecStatus.COPY_OUT:
            has_come = gathered.tell() > before
            if gathered.tell() >= _BYTES_AT_ONCE:
                yield gathered.getbuffer()
                gathered = io.BytesIO()
            before = gathered.tell()
            if not has_come:
                arrivals.select()
                pgconn.consume_input()
    while result:
        _expect(pgconn, result, ExecStatus.COMMAND_OK)
        result = pgconn.get_result()
    yield gathered.getbuffer()


def _take(pgconn: PGconn, gathered: io.BytesIO, at_most: int) -> PGresult | None:
    """Take messages that have come; returns the state of the COPY."""
    messages = takewhile(len, map(itemgetter(1), map(pgconn.get_copy_data, repeat(1))))
    gathered.writelines(islice(messages, at_most))
    return pgconn.get_result()


def _expect(pgconn: PGconn, result: PGresult, status: ExecStatus) -> None:
    if result.status == status:
        return
    if pgconn.status == ConnStatus.BAD:
        # That of the result would be of no kind.
        raise OperationalError("server closed the connection unexpectedly")
    raise error_from_result(result)
