"""Gaps as a table, a row each, of all series that were asked about.

Where gaps are and why is told by `tapehouse.store.gaps`.
"""

from datetime import datetime
from typing import Final

from tapehouse.query.frame import UTC_DTYPE, MarketFrame, table
from tapehouse.store.connection import Connection
from tapehouse.store.gaps import Gap, find_gaps
from tapehouse.store.instruments import Dataset, list_series, require_instruments
from tapehouse.timeframe import Timeframe

_DTYPES: Final = {
    "exchange": "str",
    "symbol": "str",
    "dataset": "str",
    "timeframe": "str",
    "start": UTC_DTYPE,
    "end": UTC_DTYPE,
    "cause": "str",
    "bars": "Int64",
    "attempts": "int64",
    "next_try_at": UTC_DTYPE,
}


def read_gaps(
    connection: Connection,
    *,
    exchange: str | None,
    symbol: str | None,
    dataset: Dataset | None,
    timeframe: Timeframe | None,
    start: datetime | None,
    end: datetime | None,
) -> MarketFrame:
    """The answer of `MarketData.gaps`; raises UnknownSymbol."""
    asked = list_series(connection, exchange=exchange, symbol=symbol, dataset=dataset, timeframe=timeframe)
    if not asked:
        require_instruments(connection, exchange, symbol)
    return table([_row(gap) for series in asked for gap in find_gaps(connection, series, start, end)], _DTYPES)


def _row(gap: Gap) -> list[object]:
    instrument = gap.series.instrument
    return [
        instrument.exchange,
        instrument.symbol,
        gap.series.dataset,
        gap.series.timeframe_name or "",
        gap.start,
        gap.end,
        gap.cause,
        gap.bars,
        gap.attempts,
        gap.next_try_at,
    ]
