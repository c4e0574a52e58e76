"""Instruments and series as the store keeps them."""

import difflib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, ClassVar, Literal

from psycopg.rows import class_row, dict_row

from tapehouse.errors import MixedOrigins, UnknownSeries, UnknownSymbol
from tapehouse.instrument import Instrument, Listing
from tapehouse.store.connection import Connection, one_row, store_errors
from tapehouse.store.sql import query
from tapehouse.timeframe import Timeframe, timeframe_of_seconds

Dataset = Literal["ohlcv", "trade", "order_book"]


@dataclass(frozen=True, slots=True)
class ListingChange:
    """Something that an exchange says otherwise of a market than before.

    `what` is a column of `instrument`: active, tick_size, lot_size, contract_size, amount_unit or trade_unit, with
    its value before and after as text. What is stored of the market stays as it is, its scale included.
    """

    exchange: str
    symbol: str
    what: str
    before: str
    after: str | None
    changed_at: datetime

    def __str__(self) -> str:
        return f"{self.symbol} {self.what} {self.before} → {self.after or 'not told'}"


@dataclass(frozen=True, slots=True)
class SyncResult:
    """What a comparison of an exchange's listings with the store changed: how many it lists, and which are new."""

    exchange: str
    listed: int
    new: tuple[str, ...] = ()
    changes: tuple[ListingChange, ...] = ()

    @property
    def delisted(self) -> tuple[str, ...]:
        """The markets that are no longer traded: not listed any more, or marked so by the exchange."""
        return tuple(one.symbol for one in self.changes if (one.what, one.after) == ("active", "false"))

    @property
    def relisted(self) -> tuple[str, ...]:
        """The markets that are traded again."""
        return tuple(one.symbol for one in self.changes if (one.what, one.after) == ("active", "true"))

    @property
    def changed(self) -> tuple[ListingChange, ...]:
        """What else changed: precision and units."""
        return tuple(one for one in self.changes if one.what != "active")


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

    What it says otherwise than before of a market is told and kept. Numbers stay as they are stored, whatever
    precision is announced: a value that needs more decimals widens them when it comes.

    Raises MixedOrigins rather than let the sandbox stand for an exchange that is stored already.
    """
    if not listings:
        # No exchange lists nothing: delisting all of it on such an answer would be wrong.
        return SyncResult(exchange, 0)
    for from_sandbox in {listing.from_sandbox for listing in listings}:
        require_origin(connection, exchange, from_sandbox=from_sandbox)
    symbols = [listing.symbol for listing in listings]
    with store_errors(), connection.transaction():
        told = _upsert(connection, listings)
        told += connection.execute(query("delist_instruments"), {"exchange": exchange, "symbols": symbols}).fetchall()
    new = tuple(symbol for symbol, what, *_ in told if what is None)
    changes = tuple(ListingChange(exchange, symbol, what, *rest) for symbol, what, *rest in told if what is not None)
    return SyncResult(exchange, len(listings), new, changes)


def read_listing_changes(connection: Connection, exchange: str | None = None) -> list[ListingChange]:
    """What exchanges have changed about their markets since these were first stored, the latest first."""
    with store_errors(), connection.cursor(row_factory=class_row(ListingChange)) as cursor:
        return cursor.execute(query("read_listing_changes"), {"exchange": exchange}).fetchall()


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
    datasets: list[Dataset] = [dataset] if dataset else ["ohlcv", "trade"]
    found = list_any_series(connection, datasets, exchange=exchange, symbol=symbol, timeframe=timeframe)
    return [one for one in found if isinstance(one, CandleSeries | TradeSeries)]


def list_any_series(
    connection: Connection,
    datasets: Sequence[Dataset],
    *,
    exchange: str | None = None,
    symbol: str | None = None,
    timeframe: Timeframe | None = None,
) -> list[CandleSeries | TradeSeries | BookSeries]:
    """The stored series of those datasets that fit all that is given, in the order of `list_series`."""
    conditions = {
        "datasets": list(datasets),
        "exchange": exchange,
        "symbol": symbol,
        "timeframe_s": timeframe.seconds if timeframe else None,
    }
    with store_errors(), connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(query("list_series"), conditions).fetchall()
    return [_listed_series(**row) for row in rows]


def _listed_series(
    *,
    series_id: int,
    dataset: Dataset,
    timeframe_s: int,
    **columns: Any,  # noqa: ANN401 -- columns of a query
) -> CandleSeries | TradeSeries | BookSeries:
    instrument = Instrument(**columns)
    if dataset == "ohlcv":
        return CandleSeries(series_id, instrument, timeframe_of_seconds(timeframe_s))
    return (TradeSeries if dataset == "trade" else BookSeries)(series_id, instrument)


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


def _upsert(connection: Connection, listings: Sequence[Listing]) -> list[tuple[Any, ...]]:
    """The symbols of listings that are new, and what has changed of others, as upsert_instruments.sql tells it."""
    rows = json.dumps([asdict(listing) for listing in listings])
    return connection.execute(query("upsert_instruments"), {"listings": rows}).fetchall()


def _ensure_series(connection: Connection, instrument: Instrument, dataset: Dataset, timeframe_s: int) -> int:
    key = {"instrument_id": instrument.instrument_id, "dataset": dataset, "timeframe_s": timeframe_s}
    with store_errors():
        (series_id,) = one_row(connection.execute(query("ensure_series"), key))
    return series_id
