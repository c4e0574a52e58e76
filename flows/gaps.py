"""Gaps as the forms of flows ask for them."""

from datetime import UTC, datetime
from typing import Literal

from tapehouse.moments import moment
from tapehouse.store.gaps import Gap
from tapehouse.timeframe import timeframe as timeframe_named
from tasks.gaps import find_gaps

# Order books are sampled: what was missed of them can't be had later.
Dataset = Literal["ohlcv", "trade"]


async def asked_gaps(
    exchange: str | None,
    symbol: str | None,
    dataset: Dataset | None,
    timeframe: str | None,
    start: str | None,
    end: str | None,
) -> list[Gap]:
    """The gaps that the form's fields mean; raises InputError and NaiveDatetime."""
    now = datetime.now(UTC)
    return await find_gaps(
        exchange=exchange or None,
        symbol=symbol or None,
        dataset=dataset,
        timeframe=timeframe_named(timeframe) if timeframe else None,
        start=moment(start, now=now) if start else None,
        end=moment(end, now=now) if end else None,
    )
