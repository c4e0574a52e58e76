"""What tests of exports share: stored series of known content, and all that the store knows of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tapehouse.candle import VALUE_COLUMNS, CandleBatch
from tapehouse.files.exporting import SeriesExport, Target, export_series
from tapehouse.files.formats import Format
from tapehouse.instrument import Instrument, Kind, Listing
from tapehouse.query.reader import Reader
from tapehouse.ranges import TimeRange
from tapehouse.store.candles import write_candles
from tapehouse.store.connection import Connection
from tapehouse.store.instruments import (
    CandleSeries,
    TradeSeries,
    ensure_candle_series,
    ensure_trade_series,
    find_instrument,
    sync_listings,
)
from tapehouse.store.trades import write_trades
from tapehouse.timeframe import timeframe as timeframe_named
from tapehouse.timeframe import to_us
from tapehouse.trade import TradeBatch

EVER: TimeRange = (datetime(1970, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC))


@dataclass(frozen=True)
class Shelf:
    """One instrument of an exchange of its own, and what to store and export of it."""

    connection: Connection
    reader: Reader
    listing: Listing

    def candles(
        self, opens: Sequence[datetime], covered: Sequence[TimeRange], *, timeframe: str = "1m", seed: int = 0
    ) -> CandleSeries:
        """Write a candle at each of those times, as ingest does."""
        series = ensure_candle_series(self.connection, self.instrument(), timeframe_named(timeframe))
        write_candles(self.connection, series, made_candles(opens, seed=seed), asked=covered, covered=covered)
        return series

    def trades(self, batch: TradeBatch, covered: Sequence[TimeRange]) -> TradeSeries:
        series = ensure_trade_series(self.connection, self.instrument())
        write_trades(self.connection, series, batch, asked=covered, covered=covered)
        return series

    def instrument(self) -> Instrument:
        return find_instrument(self.connection, self.listing.exchange, self.listing.symbol)

    def export(
        self,
        series: CandleSeries | TradeSeries,
        path: Path,
        form: Format = "parquet",
        asked: tuple[datetime, datetime | None] = EVER,
        *,
        is_file: bool = False,
    ) -> SeriesExport:
        return export_series(self.reader, series, Target(path, form, is_file), asked, progressed=lambda _: None)

    def known(self) -> dict[str, Any]:
        """All that the store knows of the instrument and its rows, as plain values; keys and clocks left out."""
        key = [self.listing.exchange]
        instrument = replace(self.instrument(), instrument_id=0, first_seen_at=EVER[0], last_seen_at=EVER[0])
        return {
            "instrument": instrument,
            **{
                name: self.connection.execute(statement, key).fetchall()  # pyright: ignore[reportArgumentType] -- written below
                for name, statement in _STATEMENTS.items()
            },
        }

    def forget(self) -> None:
        """Delete the instrument and all of its rows, as a store that never had it."""
        of_instrument = "where instrument_id in (select instrument_id from instrument where exchange = %s)"
        of_series = f"where series_id in (select series_id from series {of_instrument})"
        for table in ("ohlcv", "trade", "stale_rollup"):
            self._delete(f"delete from {table} {of_instrument}")
        for table in ("coverage", "substitute", "unavailable", "quarantine", "series"):
            self._delete(f"delete from {table} {of_series}")
        self._delete("delete from instrument where exchange = %s")

    def _delete(self, statement: str) -> None:
        self.connection.execute(statement, [self.listing.exchange])  # pyright: ignore[reportArgumentType] -- written above


_STATEMENTS = {
    "coverage": """
        select s.dataset, s.timeframe_s, c.covered, c.rows, c.rejected
        from series s join instrument i using (instrument_id) join coverage c using (series_id)
        where i.exchange = %s order by 1, 2
    """,
    "substitutes": """
        select s.dataset, s.timeframe_s, b.during, b.source
        from substitute b join series s using (series_id) join instrument i using (instrument_id)
        where i.exchange = %s order by 1, 2, 3
    """,
    "candles": """
        select timeframe_s, time, open, high, low, close, volume
        from ohlcv join instrument i using (instrument_id) where i.exchange = %s order by 1, 2
    """,
    "trades": """
        select time, trade_id, id_text, price, amount, side
        from trade join instrument i using (instrument_id) where i.exchange = %s order by 1, 2, 3
    """,
}


def made_listing(
    exchange: str, *, symbol: str = "BTC/USDT", kind: Kind = "spot", from_sandbox: bool = False
) -> Listing:
    return Listing(
        exchange=exchange,
        symbol=symbol,
        base="BTC",
        quote="USDT",
        settle=None if kind == "spot" else "USDT",
        kind=kind,
        contract_size=None if kind == "spot" else 0.01,
        amount_unit="base",
        trade_unit="base" if kind == "spot" else "contract",
        tick_size=0.01,
        lot_size=0.001,
        price_decimals=2,
        amount_decimals=3,
        active=True,
        from_sandbox=from_sandbox,
        raw={},
    )


def put_on_shelf(connection: Connection, reader: Reader, listing: Listing) -> Shelf:
    sync_listings(connection, listing.exchange, [listing])
    return Shelf(connection, reader, listing)


def made_candles(opens: Sequence[datetime], *, seed: int = 0) -> CandleBatch:
    """A candle at each of those times, prices in cents, volumes in thousandths, some of them 0."""
    random = np.random.default_rng(seed)
    number = len(opens)
    opened = 6_000_000 + random.integers(-900, 900, number)
    closed = opened + random.integers(-300, 300, number)
    high = np.maximum(opened, closed) + random.integers(0, 200, number)
    low = np.minimum(opened, closed) - random.integers(0, 200, number)
    return CandleBatch(
        time_us=_times_us(opens),
        open=opened / 100,
        high=high / 100,
        low=low / 100,
        close=closed / 100,
        volume=random.integers(0, 90_000, number) / 1000,
    )


def made_trades(times: Sequence[datetime], *, ids: Sequence[int | str] | None = None, seed: int = 0) -> TradeBatch:
    """A trade at each of those times, by default with whole numbers as ids; of all three sides."""
    random = np.random.default_rng(seed)
    number = len(times)
    ids = range(1, number + 1) if ids is None else ids
    return TradeBatch(
        time_us=_times_us(times),
        trade_id=np.array([one if isinstance(one, int) else 0 for one in ids], dtype=np.int64),
        id_text=np.array([one if isinstance(one, str) else "" for one in ids], dtype=np.str_),
        price=(6_000_000 + random.integers(-900, 900, number)) / 100,
        amount=random.integers(1, 90_000, number) / 1000,
        side=random.integers(-1, 2, number).astype(np.int16),
    )


def every(step: timedelta, start: datetime, end: datetime) -> list[datetime]:
    """The times from start on, up to end, exclusive."""
    return [start + number * step for number in range(-((start - end) // step))]


def columns_of(batch: CandleBatch) -> dict[str, npt.NDArray[np.float64]]:
    return {name: getattr(batch, name) for name in VALUE_COLUMNS}


def _times_us(times: Sequence[datetime]) -> npt.NDArray[np.int64]:
    return np.array([to_us(time) for time in times], dtype=np.int64)
