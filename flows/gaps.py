"""Gaps as the forms of flows ask for them."""

from datetime import UTC, datetime
from typing import Final

from tapehouse.moments import moment
from tapehouse.store.gaps import Gap
from tapehouse.store.instruments import Dataset
from tapehouse.timeframe import timeframe as timeframe_named
from tasks.gaps import find_gaps

_DATASETS: Final[dict[str | None, Dataset | None]] = {None: None, "ohlcv": "ohlcv", "trades": "trade"}


async def asked_gaps(
    exchange: str | None,
    symbol: str | None,
    dataset: str | None,
    timeframe: str | None,
    start: str | None,
    end: str | None,
) -> list[Gap]:
    """The gaps that the form's fields mean; raises InputError and NaiveDatetime."""
    now = datetime.now(UTC)
    return await find_gaps(
        exchange=exchange or None,
        symbol=symbol or None,
        dataset=_DATASETS[dataset],
        timeframe=timeframe_named(timeframe) if timeframe else None,
        start=moment(start, now=now) if start else None,
        end=moment(end, now=now) if end else None,
    )
