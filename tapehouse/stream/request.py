"""What of an exchange is streamed, and the lanes that it comes in."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from tapehouse.errors import InputError
from tapehouse.exchange import Exchange
from tapehouse.exchange.habits import habits_of
from tapehouse.ingest.plan import TRAILING_CANDLES, TRAILING_TRADES
from tapehouse.ingest.run import open_instrument
from tapehouse.ingest.sampling import Sampling
from tapehouse.store.connection import Connection
from tapehouse.store.instruments import (
    Dataset,
    Series,
    ensure_book_series,
    ensure_candle_series,
    ensure_trade_series,
)
from tapehouse.store.ledger import covered_until, record_asked
from tapehouse.stream.book_lane import BookLane
from tapehouse.stream.candle_lane import CandleLane
from tapehouse.stream.parcel import Lane
from tapehouse.stream.trade_lane import TradeLane
from tapehouse.timeframe import Timeframe, timeframe, to_ms

DATASETS: Final[tuple[Dataset, ...]] = ("trade", "order_book", "ohlcv")
# What was missed in longer than that before a start is left to ingest and repair.
LONGEST_CATCH_UP: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """What of an exchange is streamed.

    `datasets` are of `trade`, `order_book` and `ohlcv`; candles are of one `timeframe`; books keep `depth` levels a
    side and are sampled `every` so often. Raises InputError for what makes no sense.
    """

    exchange_id: str
    symbols: Sequence[str]
    datasets: Sequence[Dataset] = DATASETS
    timeframe: Timeframe = field(default_factory=lambda: timeframe("1m"))
    depth: int = 20
    every: timedelta = timedelta(seconds=1)

    def __post_init__(self) -> None:
        # The same bounds as of a sampling by requests.
        Sampling(self.depth, self.every, self.every)
        if not self.symbols or not self.datasets:
            raise InputError("Nothing is streamed: name one symbol and one dataset at least.")
        if unknown := set(self.datasets) - set(DATASETS):
            raise InputError(f"No dataset {', '.join(sorted(unknown))} can be streamed: use {', '.join(DATASETS)}.")


@dataclass(frozen=True, slots=True)
class Lanes:
    """The lanes of a stream, by symbol."""

    trades: dict[str, TradeLane] = field(default_factory=dict[str, TradeLane])
    candles: dict[str, CandleLane] = field(default_factory=dict[str, CandleLane])
    books: dict[str, BookLane] = field(default_factory=dict[str, BookLane])

    @property
    def all(self) -> list[Lane]:
        """Every lane."""
        return [*self.trades.values(), *self.candles.values(), *self.books.values()]


async def open_lanes(exchange: Exchange, connection: Connection, request: StreamRequest) -> Lanes:
    """A lane for each series, which the store knows of from then on; raises as `open_series` of an ingest does."""
    lanes, now = Lanes(), await exchange.now()
    counts_trades = habits_of(request.exchange_id).counts_trades
    for symbol in dict.fromkeys(request.symbols):
        instrument = await open_instrument(exchange, connection, symbol)
        if "trade" in request.datasets:
            trades = ensure_trade_series(connection, instrument)
            known_ms = _known_until_ms(connection, trades, TRAILING_TRADES, now)
            lanes.trades[symbol] = TradeLane(trades, counts_trades=counts_trades, known_until_ms=known_ms)
        if "ohlcv" in request.datasets:
            exchange.require_candles(request.timeframe)
            candles = ensure_candle_series(connection, instrument, request.timeframe)
            known_ms = _known_until_ms(connection, candles, TRAILING_CANDLES * request.timeframe.length, now)
            lanes.candles[symbol] = CandleLane(candles, known_until_ms=known_ms)
        if "order_book" in request.datasets:
            books = ensure_book_series(connection, instrument)
            lanes.books[symbol] = BookLane(books, depth=request.depth, every=request.every)
    for lane in lanes.all:
        record_asked(connection, lane.series)
    return lanes


def _known_until_ms(connection: Connection, series: Series, trailing: timedelta, now: datetime) -> int | None:
    """How far the series is known for good, if what came since is to be caught up with."""
    known = covered_until(connection, series, now)
    return to_ms(known - trailing) if known is not None and now - known <= LONGEST_CATCH_UP else None
