"""Instruments and series as the store keeps them."""

import difflib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar, Literal

from psycopg.rows import class_row

from tapehouse.errors import MixedOrigins, UnknownSymbol
from tapehouse.instrument import Instrument, Listing
from tapehouse.store.connection import Connection, one_row, store_errors
from tapehouse.store.sql import query
from tapehouse.timeframe import Timeframe

Dataset = Literal["ohlcv", "trade", "order_book"]


@dataclass(frozen=True, slots=True)
class SyncResult:
    """What a comparison of an exchange's listings with the store changed."""

    exchange: str
    listed: int
    new: int
    delisted: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Series:
    """One dataset of one instrument: the unit of ingest, coverage and revision."""

    series_id: int
    instrument: Instrument
    dataset: ClassVar[Dataset]

    @property
    def timeframe_name(self) -> str | None:
        """The timeframe of candles."""
        return None


@dataclass(frozen=True, slots=True)
class CandleSeries(Series):
    """The candles of one instrument in one timeframe."""

    timeframe: Timeframe
    dataset: ClassVar[Dataset] = "ohlcv"

    @property
    def timeframe_name(self) -> str:
        """The timeframe, as in `1m`."""
        return self.timeframe.name

    def __str__(self) -> str:
        return f"{self.instrument.exchange} {self.instrument.symbol} {self.timeframe}"


@dataclass(frozen=True, slots=True)
class TradeSeries(Series):
    """The trades of one instrument."""

    dataset: ClassVar[Dataset] = "trade"

    def __str__(self) -> str:
        return f"{self.instrument.exchange} {self.instrument.symbol} trades"


@dataclass(frozen=True, slots=True)
class BookSeries(Series):
    """The order books of one instrument, sampled."""

    dataset: ClassVar[Dataset] = "order_book"

    def __str__(self) -> str:
        return f"{self.instrument.exchange} {self.instrument.symbol} order books"


def require_origin(connection: Connection, exchange: str, *, from_sandbox: bool) -> None:
    """Raise MixedOrigins if the store holds this exchange from elsewhere: the sandbox, or the real one."""
    with store_errors():
        origins = connection.execute(query("read_origins"), {"exchange": exchange}).fetchall()
    if (not from_sandbox,) in origins:
        stored, asked = ("real", "the sandbox's") if from_sandbox else ("the sandbox's", "real")
        raise MixedOrigins(
            f"This database holds {stored} {exchange} data, which {asked} must not mix with: use another database, "
            "or empty this one with `tapehouse db reset`."
        )


def sync_listings(connection: Connection, exchange: str, listings: Sequence[Listing]) -> SyncResult:
    """Store what the exchange lists; what it no longer lists is kept and marked as not active.

    Raises MixedOrigins rather than let the sandbox stand for an exchange that is stored already.
    """
    if not listings:
        # No exchange lists nothing: delisting all of it on such an answer would be wrong.
        return SyncResult(exchange, 0, 0, ())
    for from_sandbox in {listing.from_sandbox for listing in listings}:
        require_origin(connection, exchange, from_sandbox=from_sandbox)
    rows = json.dumps([asdict(listing) for listing in listings])
    symbols = [listing.symbol for listing in listings]
    with store_errors(), connection.transaction():
        new, listed = one_row(connection.execute(query("upsert_instruments"), {"listings": rows}))
        delisted = connection.execute(query("delist_instruments"), {"exchange": exchange, "symbols": symbols})
        gone = tuple(sorted(symbol for (symbol,) in delisted))
    return SyncResult(exchange, listed, new, gone)


def find_instrument(connection: Connection, exchange: str, symbol: str) -> Instrument:
    """The stored instrument; raises UnknownSymbol with the closest symbols there are."""
    with store_errors(), connection.cursor(row_factory=class_row(Instrument)) as cursor:
        found = cursor.execute(query("read_instrument"), {"exchange": exchange, "symbol": symbol}).fetchone()
    if found is not None:
        return found
    raise unknown_symbol(connection, exchange, symbol)


def unknown_symbol(connection: Connection, exchange: str, symbol: str) -> UnknownSymbol:
    """The error for a symbol that is not stored, with the closest symbols that are."""
    with store_errors():
        known = [symbol for (symbol,) in connection.execute(query("read_symbols"), {"exchange": exchange})]
    if not known:
        return UnknownSymbol(f"No instruments of {exchange} are stored: run `tapehouse instruments --sync {exchange}`.")
    close = difflib.get_close_matches(symbol.upper(), known, n=3, cutoff=0.4)
    hint = f"did you mean {', '.join(close)}?" if close else "`tapehouse instruments` lists what is there."
    return UnknownSymbol(f"{exchange} has no {symbol}: {hint}")


def ensure_candle_series(connection: Connection, instrument: Instrument, timeframe: Timeframe) -> CandleSeries:
    """The candle series of that instrument and timeframe, made if there is none."""
    return CandleSeries(_ensure_series(connection, instrument, "ohlcv", timeframe.seconds), instrument, timeframe)


def ensure_trade_series(connection: Connection, instrument: Instrument) -> TradeSeries:
    """The trades of that instrument as a series, made if there is none."""
    return TradeSeries(_ensure_series(connection, instrument, "trade", 0), instrument)


def ensure_book_series(connection: Connection, instrument: Instrument) -> BookSeries:
    """The order books of that instrument as a series, made if there is none."""
    return BookSeries(_ensure_series(connection, instrument, "order_book", 0), instrument)


def _ensure_series(connection: Connection, instrument: Instrument, dataset: Dataset, timeframe_s: int) -> int:
    key = {"instrument_id": instrument.instrument_id, "dataset": dataset, "timeframe_s": timeframe_s}
    with store_errors():
        (series_id,) = one_row(connection.execute(query("ensure_series"), key))
    return series_id
