"""Reading the quarantine: rejected rows as they came, with their reasons; `tapehouse.store.ledger` fills it."""

from dataclasses import dataclass
from datetime import datetime

from tapehouse.store.connection import Connection, store_errors
from tapehouse.store.sql import query
from tapehouse.timeframe import Timeframe, timeframe_of_seconds


@dataclass(frozen=True, slots=True)
class QuarantinedRow:
    """A row that failed validation; `time` is its open time if it told a believable one, `raw` is JSON."""

    exchange: str
    symbol: str
    timeframe: Timeframe
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
    return [
        QuarantinedRow(exchange, symbol, timeframe_of_seconds(timeframe_s), time, tuple(reasons), raw, seen, *seen_at)
        for exchange, symbol, timeframe_s, time, reasons, raw, seen, *seen_at in rows
    ]
