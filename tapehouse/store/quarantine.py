"""Reading the quarantine: rejected rows as they came, with their reasons; `tapehouse.store.ledger` fills it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tapehouse.store.connection import Connection, store_errors
from tapehouse.store.instruments import Dataset
from tapehouse.store.sql import query
from tapehouse.timeframe import Timeframe, timeframe_of_seconds


@dataclass(frozen=True, slots=True)
class QuarantinedRow:
    """A row that failed validation; `time` is its own if it told a believable one, `raw` is JSON.

    `timeframe` is there for candles alone.
    """

    exchange: str
    symbol: str
    dataset: Dataset
    timeframe: Timeframe | None
    time: datetime | None
    reasons: tuple[str, ...]
    raw: object
    seen: int
    first_seen_at: datetime
    last_seen_at: datetime


def read_quarantine(
    connection: Connection, *, exchange: str | None = None, symbol: str | None = None, at_most: int
) -> list[QuarantinedRow]:
    """The rejected rows seen last, latest first, of one exchange or symbol if given."""
    parameters = {"exchange": exchange, "symbol": symbol, "at_most": at_most}
    with store_errors():
        rows = connection.execute(query("read_quarantine"), parameters).fetchall()
    return [_quarantined(*row) for row in rows]


def _quarantined(exchange: str, symbol: str, dataset: Dataset, timeframe_s: int, *rest: Any) -> QuarantinedRow:  # noqa: ANN401 -- columns of a query
    time, reasons, raw, seen, *seen_at = rest
    timeframe = timeframe_of_seconds(timeframe_s) if timeframe_s else None
    return QuarantinedRow(exchange, symbol, dataset, timeframe, time, tuple(reasons), raw, seen, *seen_at)
