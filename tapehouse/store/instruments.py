"""Instruments and series as the store keeps them."""

import difflib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

from psycopg.rows import class_row, dict_row

from tapehouse.errors import MixedOrigins, UnknownSeries, UnknownSymbol
from tapehouse.instrument import Instrument, Listing
from tapehouse.store.connection import Connection, one_row, store_errors
from tapehouse.store.sql import query
from tapehouse.timeframe import Timeframe, timeframe_of_seconds

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
    symbols = [listing.symbol for listing in listings]
    with store_errors(), connection.transaction():
        new, listed = _upsert(connection, listings)
        delisted = connection.execute(query("delist_instruments"), {"exchange": exchange, "symbols": symbols})
        gone = tuple(sorted(symbol for (symbol,) in delisted))
    return SyncResult(exchange, listed, new, gone)


def add_instrument(connection: Connection, listing: Listing) -> Instrument:
    """The stored instrument of that listing, stored now; what else its exchange lists is left alone.

    Raises MixedOrigins as `sync_listings` does.
    """
    require_origin(connection, listing.exchange, from_sandbox=listing.from_sandbox)
    with store_errors():
        _upsert(connection, [listing])
    return find_instrument(connection, listing.exchange, listing.symbol)


def find_instrument(connection: Connection, exchange: str, symbol: str) -> Instrument:
    """The stored instrument; raises UnknownSymbol with the closest symbols there are."""
    with store_errors(), connection.cursor(row_factory=class_row(Instrument)) as cursor:
        found = cursor.execute(query("read_instrument"), {"exchange": exchange, "symbol": symbol}).fetchone()
    if found is not None:
        return found
    raise unknown_symbol(connection, exchange, symbol)


def require_instruments(connection: Connection, exchange: str | None, symbol: str | None) -> None:
    """Raise UnknownSymbol where an exchange or a symbol is named of which no instrument is stored."""
    if exchange is None and symbol is None:
        return
    known = read_symbols(connection, exchange)
    if symbol is not None and symbol not in known:
        raise unknown_symbol(connection, exchange, symbol)
    if exchange is not None and not known:
        raise _unknown_exchange(connection, exchange, "BTC/USDT")


def unknown_symbol(connection: Connection, exchange: str | None, symbol: str) -> UnknownSymbol:
    """The error for a symbol that is not stored of an exchange, or of any, with the closest symbols that are."""
    known = read_symbols(connection, exchange)
    if exchange is not None and not known:
        return _unknown_exchange(connection, exchange, symbol)
    close = difflib.get_close_matches(symbol.upper(), known, n=3, cutoff=0.4)
    hint = f"did you mean {', '.join(close)}?" if close else "`tapehouse instruments` lists what is there."
    return UnknownSymbol(f"{f'{exchange} has' if exchange else 'There is'} no {symbol}: {hint}")


def _unknown_exchange(connection: Connection, exchange: str, symbol: str) -> UnknownSymbol:
    with store_errors():
        stored = [name for (name,) in connection.execute(query("read_exchanges"))]
    close = difflib.get_close_matches(exchange.lower(), stored, n=3)
    begin = f"`tapehouse ingest ohlcv --exchange {exchange} --symbol {symbol} --timeframe 1m --since 7d`"
    hint = f"did you mean {', '.join(close)}? If not, run {begin}." if close else f"run {begin}."
    return UnknownSymbol(f"No instruments of {exchange} are stored: {hint}")


def list_series(
    connection: Connection,
    *,
    exchange: str | None = None,
    symbol: str | None = None,
    dataset: Dataset | None = None,
    timeframe: Timeframe | None = None,
) -> list[CandleSeries | TradeSeries]:
    """The stored series of candles and trades that fit all that is given; by market, trades first, then by length."""
    conditions = {
        "exchange": exchange,
        "symbol": symbol,
        "dataset": dataset,
        "timeframe_s": timeframe.seconds if timeframe else None,
    }
    with store_errors(), connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(query("list_series"), conditions).fetchall()
    return [_listed_series(**row) for row in rows]


def _listed_series(*, series_id: int, dataset: Dataset, timeframe_s: int, **columns: Any) -> CandleSeries | TradeSeries:  # noqa: ANN401 -- columns of a query
    instrument = Instrument(**columns)
    if dataset == "trade":
        return TradeSeries(series_id, instrument)
    return CandleSeries(series_id, instrument, timeframe_of_seconds(timeframe_s))


def find_series(
    connection: Connection, instrument: Instrument, dataset: Dataset, timeframe: Timeframe | None = None
) -> Series:
    """A stored series; raises UnknownSeries where there is none."""
    key = {
        "instrument_id": instrument.instrument_id,
        "dataset": dataset,
        "timeframe_s": timeframe.seconds if timeframe else 0,
    }
    with store_errors():
        found = connection.execute(query("find_series"), key).fetchone()
    if found is None:
        what = f"{instrument.exchange} {instrument.symbol} {timeframe or dataset}"
        raise UnknownSeries(f"Nothing of {what} is stored: `tapehouse coverage` shows what is.")
    if timeframe is not None:
        return CandleSeries(found[0], instrument, timeframe)
    return (TradeSeries if dataset == "trade" else BookSeries)(found[0], instrument)


def read_symbols(connection: Connection, exchange: str | None) -> list[str]:
    """The symbols that are stored of an exchange, or of any."""
    with store_errors():
        return [symbol for (symbol,) in connection.execute(query("read_symbols"), {"exchange": exchange})]


def ensure_candle_series(connection: Connection, instrument: Instrument, timeframe: Timeframe) -> CandleSeries:
    """The candle series of that instrument and timeframe, made if there is none."""
    return CandleSeries(_ensure_series(connection, instrument, "ohlcv", timeframe.seconds), instrument, timeframe)


def ensure_trade_series(connection: Connection, instrument: Instrument) -> TradeSeries:
    """The trades of that instrument as a series, made if there is none."""
    return TradeSeries(_ensure_series(connection, instrument, "trade", 0), instrument)


def ensure_book_series(connection: Connection, instrument: Instrument) -> BookSeries:
    """The order books of that instrument as a series, made if there is none."""
    return BookSeries(_ensure_series(connection, instrument, "order_book", 0), instrument)


def _upsert(connection: Connection, listings: Sequence[Listing]) -> tuple[int, int]:
    """How many of the listings are new, and how many there are."""
    rows = json.dumps([asdict(listing) for listing in listings])
    new, listed = one_row(connection.execute(query("upsert_instruments"), {"listings": rows}))
    return new, listed


def _ensure_series(connection: Connection, instrument: Instrument, dataset: Dataset, timeframe_s: int) -> int:
    key = {"instrument_id": instrument.instrument_id, "dataset": dataset, "timeframe_s": timeframe_s}
    with store_errors():
        (series_id,) = one_row(connection.execute(query("ensure_series"), key))
    return series_id
