"""Whether the exchange's 1m candles agree with its trades: comparing them, and what came of it.

Two witnesses of the same minutes that the exchange computes apart: where they differ, one of them is wrong
or incomplete.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg.rows import class_row

from tapehouse.ranges import TimeRange, intersect_ranges
from tapehouse.store.connection import Connection, store_errors
from tapehouse.store.ledger import multirange
from tapehouse.store.sql import query
from tapehouse.timeframe import aware_range, timeframe

_DAY = timeframe("1d")


@dataclass(frozen=True, slots=True)
class Agreement:
    """How the 1m candles of an instrument and a UTC day agree with those that its trades make.

    `minutes` were fetched of both; `differing` of them differ in anything: in one of the prices, in volume
    (of `volumes_compared`, since units can't always be converted), or because one of the two is missing.
    A minute without a trade agrees with no candle, or one of no volume. `largest_price_gap` is the largest
    difference of a price as a share of the exchange's, over all minutes that have both.
    """

    exchange: str
    symbol: str
    day: datetime
    minutes: int
    differing: int
    open_differs: int
    high_differs: int
    low_differs: int
    close_differs: int
    volumes_compared: int
    volume_differs: int
    without_candle: int
    without_trades: int
    largest_price_gap: float
    checked_at: datetime


def compare_candles(
    connection: Connection,
    *,
    exchange: str | None = None,
    symbol: str | None = None,
    start: datetime,
    end: datetime,
) -> list[Agreement]:
    """Compare the 1m candles of all days that [start, end) touches with the trades, and keep the outcome.

    Only whole minutes count of which both were fetched; days without one are left out of the answer.
    Raises NaiveDatetime, ReversedRange and StoreError.
    """
    start, end = aware_range(start, end)
    first, stop = _DAY.floor(start), _DAY.ceil(end)
    parameters = {"exchange": exchange, "symbol": symbol, "start": first, "end": stop}
    compared: set[tuple[str, str, datetime]] = set()
    with store_errors():
        for instrument_id, *names, covered in connection.execute(query("read_comparable"), parameters).fetchall():
            ranges = [(one.lower, one.upper) for one in covered]
            for day in _days(ranges):
                key = {"instrument_id": instrument_id, "day": day[0]}
                within = {"covered": multirange(intersect_ranges(ranges, [day]))}
                if connection.execute(query("compare_candles"), {**key, **within}).rowcount:
                    compared.add((*names, day[0]))
    kept = read_agreement(connection, exchange=exchange, symbol=symbol)
    return [one for one in kept if (one.exchange, one.symbol, one.day) in compared]


def read_agreement(
    connection: Connection, *, exchange: str | None = None, symbol: str | None = None
) -> list[Agreement]:
    """What earlier comparisons found, the latest day of each instrument first."""
    with store_errors(), connection.cursor(row_factory=class_row(Agreement)) as cursor:
        return cursor.execute(query("read_agreement"), {"exchange": exchange, "symbol": symbol}).fetchall()


def _days(ranges: list[TimeRange]) -> list[TimeRange]:
    """The UTC days that the ranges touch."""
    starts: dict[datetime, None] = {}
    for start, end in ranges:
        day = _DAY.floor(start)
        while day < end:
            starts[day] = None
            day += timedelta(days=1)
    return [(day, day + timedelta(days=1)) for day in starts]
