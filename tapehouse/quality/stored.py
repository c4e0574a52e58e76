"""The reports of days as the store keeps them: one for each series and UTC day, the latest."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from psycopg.rows import dict_row

from tapehouse.quality.day import DayQuality, Finding
from tapehouse.store.connection import Connection, store_errors
from tapehouse.store.instruments import Dataset, Series
from tapehouse.store.sql import query
from tapehouse.timeframe import Timeframe, aware_range, timeframe_of_seconds

# Of a day so many findings are kept; the counts are complete.
_MOST_FINDINGS: Final = 100


def keep_quality(connection: Connection, series: Series, quality: DayQuality) -> None:
    """Keep the report of a day in the place of an earlier one."""
    findings = [
        [one.kind, one.start.isoformat(), one.end.isoformat(), one.count, one.detail]
        for one in quality.findings[:_MOST_FINDINGS]
    ]
    counts = {
        name: getattr(quality, name)
        for name in DayQuality.__slots__
        if name not in ("exchange", "symbol", "dataset", "timeframe", "findings")
    }
    parameters = {
        **counts,
        "series_id": series.series_id,
        "score": quality.score,
        "findings": json.dumps(findings),
    }
    with store_errors():
        connection.execute(query("upsert_quality"), parameters)


def read_quality(
    connection: Connection,
    *,
    exchange: str | None = None,
    symbol: str | None = None,
    dataset: Dataset | None = None,
    timeframe: Timeframe | None = None,
    series: Series | None = None,
    start: datetime,
    end: datetime,
) -> list[DayQuality]:
    """The reports of days that begin in [start, end), of the series that fit all that is given; by series and day.

    Of the findings of a day the first hundred are kept. Raises NaiveDatetime, ReversedRange and StoreError.
    """
    start, end = aware_range(start, end)
    parameters = {
        "exchange": exchange,
        "symbol": symbol,
        "dataset": dataset,
        "timeframe_s": timeframe.seconds if timeframe else None,
        "series_id": series.series_id if series else None,
        "start": start,
        "end": end,
    }
    with store_errors(), connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(query("read_quality"), parameters).fetchall()
    return [_stored(**row) for row in rows]


def _stored(
    *,
    timeframe_s: int,
    day: datetime,
    findings: Sequence[Sequence[Any]],
    **columns: Any,  # noqa: ANN401 -- columns of a query
) -> DayQuality:
    timeframe = timeframe_of_seconds(timeframe_s).name if timeframe_s else None
    return DayQuality(timeframe=timeframe, day=day.astimezone(UTC), findings=_findings(findings), **columns)


def _findings(rows: Sequence[Sequence[Any]]) -> tuple[Finding, ...]:
    return tuple(
        Finding(kind, datetime.fromisoformat(start), datetime.fromisoformat(end), count, detail)
        for kind, start, end, count, detail in rows
    )
