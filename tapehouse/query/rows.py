"""Rows of candles from the database into columns.

Which rows is the plan's business. The transaction is that in which the plan's facts were read.
"""

import io
from collections.abc import Iterator
from itertools import islice, repeat, takewhile
from operator import itemgetter
from typing import Final

from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult
from psycopg.sql import Composed, Identifier, Literal

from tapehouse.query.decode import CandleDecoder, Candles
from tapehouse.query.plan import Plan, Read
from tapehouse.query.resample import keep_ranges, merge_candles, resample
from tapehouse.ranges import TimeRange
from tapehouse.store.connection import Connection, is_embedded
from tapehouse.store.sql import query

# Messages taken over at once: some 300 kB, which stay in the processor's cache.
_MESSAGES_AT_ONCE: Final = 4096
# The embedded database builds a whole answer in memory before it sends any of it.
_EMBEDDED_ROWS_AT_ONCE: Final = 100_000


def read_planned(connection: Connection, instrument_id: int, plan: Plan) -> Candles:
    """The candles of a plan, in whole ticks and lots."""
    parts = [_read(connection, instrument_id, read) for read in plan.reads]
    if not parts:
        return CandleDecoder(0).candles()
    if plan.source == "native":
        return parts[0]
    candles = merge_candles([keep_ranges(part, read.keep) for part, read in zip(parts, plan.reads, strict=True)])
    return candles if plan.source == "rollup" else resample(candles, plan.timeframe)


def _read(connection: Connection, instrument_id: int, read: Read) -> Candles:
    decoder = CandleDecoder(read.timeframe.count(*read.span))
    for span in _portions(connection, read):
        _copy_out(connection, _copy_statement(instrument_id, read, span), decoder)
    return decoder.candles()


def _portions(connection: Connection, read: Read) -> Iterator[TimeRange]:
    start, end = read.span
    if not is_embedded(connection):
        yield start, end
        return
    step = min(read.timeframe.length * _EMBEDDED_ROWS_AT_ONCE, end - start)
    while start < end:
        yield start, min(start + step, end)
        start += step


def _copy_statement(instrument_id: int, read: Read, span: TimeRange) -> Composed:
    values = {"instrument_id": Literal(instrument_id), "start": Literal(span[0]), "end": Literal(span[1])}
    if read.table == "ohlcv":
        return query("copy_candles").format(timeframe_s=Literal(read.timeframe.seconds), **values)
    return query("copy_rollup").format(rollup=Identifier(read.table), **values)


def _copy_out(connection: Connection, statement: Composed, decoder: CandleDecoder) -> None:
    """Feed the decoder with the answer, in pieces.

    psycopg's own COPY makes several Python objects a row; here the loop over the messages runs
    in C, which leaves the server the slower side.
    """
    pgconn = connection.pgconn
    _expect(pgconn.exec_(statement.as_bytes(connection)), ExecStatus.COPY_OUT)
    try:
        messages = takewhile(len, map(itemgetter(1), map(pgconn.get_copy_data, repeat(0))))
        while data := _gather(messages):
            decoder.feed(data)
        _finish(pgconn)
        decoder.end_answer()
    except BaseException:
        # The rest of the answer may still be under way: the connection is of no further use.
        connection.close()
        raise


def _gather(messages: Iterator[memoryview]) -> memoryview:
    gathered = io.BytesIO()
    gathered.writelines(islice(messages, _MESSAGES_AT_ONCE))
    return gathered.getbuffer()


def _finish(pgconn: PGconn) -> None:
    while (result := pgconn.get_result()) is not None:
        _expect(result, ExecStatus.COMMAND_OK)


def _expect(result: PGresult, status: ExecStatus) -> None:
    if result.status != status:
        raise error_from_result(result)
