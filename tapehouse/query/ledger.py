"""What the database knows of an instrument and its series, as records; its rows are `tapehouse.query.rows`' business.

All functions run in the transaction of the connection they are given.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any, Final

from psycopg.rows import dict_row
from psycopg.types.multirange import TimestamptzMultirange

from tapehouse.instrument import AmountUnit
from tapehouse.query.plan import SeriesState
from tapehouse.query.question import Question
from tapehouse.ranges import Substitute, TimeRange
from tapehouse.store.connection import Connection
from tapehouse.store.instruments import Dataset, unknown_symbol
from tapehouse.store.sql import query
from tapehouse.store.ticks import Scale

# Of datasets without a timeframe.
NO_TIMEFRAME_S: Final = 0
# One more than an answer names.
MOST_SUBSTITUTES: Final = 51


@dataclass(frozen=True, slots=True)
class Ledger:
    """What one snapshot of the database knows of an instrument and its series within the time asked for.

    `as_of` is the server's time, and `end` that asked for, or `as_of` where that is later. `series`
    are those that are stored, by dataset and length of the timeframe. `amount_unit` is of candles'
    volumes, `trade_unit` of amounts of trades and order books.
    """

    instrument_id: int
    scale: Scale
    amount_unit: AmountUnit
    trade_unit: AmountUnit
    from_sandbox: bool
    as_of: datetime
    start: datetime
    end: datetime
    series: Mapping[tuple[Dataset, int], SeriesState]

    @property
    def window(self) -> TimeRange:
        """The time asked for; empty if that begins later than now."""
        return min(self.start, self.end), self.end

    def find(self, dataset: Dataset) -> SeriesState | None:
        """The series of a dataset without timeframes, if it is stored."""
        return self.series.get((dataset, NO_TIMEFRAME_S))


def read_ledger(
    connection: Connection,
    question: Question,
    *datasets: Dataset,
    timeframes_s: Sequence[int] = (NO_TIMEFRAME_S,),
    lookback: timedelta = timedelta(0),
) -> Ledger:
    """What is known of the time asked for, and so long before it; raises UnknownSymbol."""
    start = question.start - lookback
    parameters = ledger_parameters(question, dict.fromkeys(product(datasets, timeframes_s), start))
    with connection.cursor(row_factory=dict_row) as cursor:
        # In a pipeline BEGIN and the statement take one round trip; fetching inside would make it two.
        with connection.pipeline():
            cursor.execute(query("read_series"), parameters)
        rows = cursor.fetchall()
    return ledger_of(connection, question, rows)


def ledger_parameters(
    question: Question,
    starts: Mapping[tuple[Dataset, int], datetime],
    *,
    substitutes_at_most: int = MOST_SUBSTITUTES,
) -> dict[str, Any]:
    """Those of read_series.sql: `starts` are the series that can help, and from when on each matters."""
    return {
        "exchange": question.exchange,
        "symbol": question.symbol,
        "datasets": [dataset for dataset, _ in starts],
        "timeframes_s": [timeframe_s for _, timeframe_s in starts],
        "starts": list(starts.values()),
        "end": question.end,
        "substitutes_at_most": substitutes_at_most,
    }


def ledger_of(connection: Connection, question: Question, rows: Sequence[dict[str, Any]]) -> Ledger:
    """What the rows of read_series.sql say; raises UnknownSymbol."""
    if not rows:
        raise unknown_symbol(connection, question.exchange, question.symbol)
    first = rows[0]
    as_of = first["as_of"].astimezone(UTC)
    return Ledger(
        instrument_id=first["instrument_id"],
        scale=Scale(first["price_decimals"], first["amount_decimals"]),
        amount_unit=first["amount_unit"],
        trade_unit=first["trade_unit"],
        from_sandbox=first["from_sandbox"],
        as_of=as_of,
        start=question.start,
        end=min(question.end or as_of, as_of),
        series={(row["dataset"], row["timeframe_s"]): _series_state(row) for row in rows if row["dataset"]},
    )


def utc_ranges(multirange: TimestamptzMultirange) -> tuple[TimeRange, ...]:
    """The ranges in UTC; what is covered is bounded."""
    return tuple(
        (one.lower.astimezone(UTC), one.upper.astimezone(UTC))
        for one in multirange
        if one.lower is not None and one.upper is not None
    )


def _series_state(row: dict[str, Any]) -> SeriesState:
    return SeriesState(
        revision=row["revision"],
        covered=utc_ranges(row["covered"]),
        dropped_before=_utc(row["dropped_before"]),
        substitutes=tuple(_substitute(*one) for one in row["substitutes"] or ()),
        stale_rollups=utc_ranges(row["stale_rollups"]),
        stale_features=utc_ranges(row["stale_features"]),
        id_bytes=row["id_bytes"],
        book_features_dropped_before=_utc(row["book_features_dropped_before"]),
        imbalances_dropped_before=_utc(row["imbalances_dropped_before"]),
    )


def _utc(time: datetime | None) -> datetime | None:
    return time.astimezone(UTC) if time else None


def _substitute(start: str, end: str, source: str) -> Substitute:
    return Substitute(
        datetime.fromisoformat(start).astimezone(UTC), datetime.fromisoformat(end).astimezone(UTC), source
    )
