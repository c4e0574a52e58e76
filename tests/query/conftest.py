"""Fixtures of the query tests: a reader, and instruments whose rows are written with plain SQL."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import uuid4

import numpy as np
import pandas as pd
import pytest
from psycopg.sql import SQL, Identifier
from psycopg.types.multirange import TimestamptzMultirange
from psycopg.types.range import TimestamptzRange

from tapehouse import MarketData
from tapehouse.book import NO_NONCE, BookBatch
from tapehouse.ranges import TimeRange
from tapehouse.store.books import write_books
from tapehouse.store.connection import Connection, connect
from tapehouse.store.instruments import ensure_book_series, ensure_trade_series, find_instrument
from tapehouse.store.trades import write_trades
from tapehouse.timeframe import timeframe, to_us
from tapehouse.trade import TradeBatch

PRICE_DECIMALS = 2
AMOUNT_DECIMALS = 3
COLUMNS = ["open", "high", "low", "close", "volume"]
SIDES = pd.CategoricalDtype(["buy", "sell", "unknown"])


# Price and amount, best level first.
Side = list[tuple[float, float]]


@dataclass(frozen=True)
class Snapshot:
    """An order book at ordinary prices and amounts."""

    time: datetime
    bids: Side
    asks: Side
    nonce: int = NO_NONCE
    late: timedelta = timedelta(milliseconds=250)


@dataclass(frozen=True)
class Tape:
    """One instrument of an exchange of its own; values are whole ticks and lots."""

    connection: Connection
    exchange: str
    symbol: str
    instrument_id: int

    def series_id(self, name: str) -> int:
        row = self.connection.execute(
            """
            insert into series (instrument_id, dataset, timeframe_s) values (%s, 'ohlcv', %s)
            on conflict (instrument_id, dataset, timeframe_s) do update set revision = series.revision
            returning series_id
            """,
            (self.instrument_id, timeframe(name).seconds),
        ).fetchone()
        assert row is not None
        return row[0]

    def cover(self, start: datetime, end: datetime, name: str = "1m") -> None:
        self.cover_all([(start, end)], name)

    def cover_all(self, ranges: Iterable[TimeRange], name: str = "1m") -> None:
        self.connection.execute(
            """
            insert into coverage (series_id, covered) values (%s, %s)
            on conflict (series_id) do update set covered = coverage.covered + excluded.covered
            """,
            (self.series_id(name), TimestamptzMultirange(TimestamptzRange(*one) for one in ranges)),
        )

    def want(self, start: datetime, end: datetime, name: str = "1m") -> None:
        """Note that a range was to be fetched."""
        self.connection.execute(
            "update series set wanted_from = %s, wanted_until = %s where series_id = %s",
            (start, end, self.series_id(name)),
        )

    def insert(self, bars: pd.DataFrame, name: str = "1m") -> None:
        self.connection.execute(
            """
            insert into ohlcv
            select %s, %s, * from unnest(%s::timestamptz[], %s::float8[], %s::float8[], %s::float8[], %s::float8[],
                %s::float8[])
            on conflict (instrument_id, timeframe_s, time) do update
            set open = excluded.open, high = excluded.high, low = excluded.low, close = excluded.close,
                volume = excluded.volume
            """,
            (
                self.instrument_id,
                timeframe(name).seconds,
                [time.to_pydatetime() for time in bars.index],
                *(bars[column].tolist() for column in COLUMNS),
            ),
        )

    def write(self, bars: pd.DataFrame, name: str = "1m") -> None:
        """Insert bars and cover them from the first to the last."""
        self.insert(bars, name)
        self.cover(bars.index[0].to_pydatetime(), timeframe(name).close(bars.index[-1].to_pydatetime()), name)

    def write_trades(self, trades: pd.DataFrame, *covered: TimeRange) -> None:
        """Write trades as ingest does, for ranges that hold all of them."""
        series = ensure_trade_series(self.connection, find_instrument(self.connection, self.exchange, self.symbol))
        write_trades(self.connection, series, _trade_batch(trades), asked=covered, covered=covered)

    def write_books(self, books: Sequence[Snapshot], *covered: TimeRange) -> None:
        """Write snapshots as ingest does, covering those ranges."""
        series = ensure_book_series(self.connection, find_instrument(self.connection, self.exchange, self.symbol))
        write_books(self.connection, series, _book_batch(books), asked=covered, covered=covered)

    def mark_stale(self, start: datetime, end: datetime) -> None:
        self.connection.execute(
            "insert into stale_rollup (instrument_id, during) values (%s, tstzrange(%s, %s))",
            (self.instrument_id, start, end),
        )

    def delete_from(self, start: datetime) -> None:
        self.connection.execute(
            "delete from ohlcv where instrument_id = %s and time >= %s", (self.instrument_id, start)
        )

    def refresh_rollups(self, start: datetime, end: datetime) -> None:
        for rollup in ("candle_5m", "candle_15m", "candle_1h", "candle_4h", "candle_1d"):
            call = SQL("call refresh_continuous_aggregate({}, %s::timestamptz, %s::timestamptz, options => %s::jsonb)")
            # In one batch: the default is ten buckets at a time.
            self.connection.execute(call.format(rollup), (start, end, '{"buckets_per_batch": 100000}'))

    def refresh_trade_rollups(self, start: datetime, end: datetime) -> None:
        """Refresh those of trades, and settle what the writes noted."""
        for rollup in ("trade_candle_1s", "trade_candle_1m"):
            call = SQL("call refresh_continuous_aggregate({}, %s::timestamptz, %s::timestamptz, options => %s::jsonb)")
            self.connection.execute(call.format(rollup), (start, end, '{"buckets_per_batch": 100000}'))
        self.connection.execute(
            "delete from stale_rollup where dataset = 'trade' and instrument_id = %s", (self.instrument_id,)
        )

    def rollup_closes(self, rollup: str) -> list[float]:
        statement = SQL("select close from {} where instrument_id = %s order by time").format(Identifier(rollup))
        return [close for (close,) in self.connection.execute(statement, (self.instrument_id,))]


def make_instrument(connection: Connection, symbol: str, *, exchange: str = "an-exchange") -> Tape:
    """An instrument of which nothing is stored yet."""
    row = connection.execute(
        """
        insert into instrument
            (exchange, symbol, base, quote, kind, amount_unit, price_decimals, amount_decimals, active,
                from_sandbox, raw)
        values (%s, %s, 'BTC', 'USDT', 'spot', 'base', %s, %s, true, false, '{}')
        returning instrument_id
        """,
        (exchange, symbol, PRICE_DECIMALS, AMOUNT_DECIMALS),
    ).fetchone()
    assert row is not None
    return Tape(connection, exchange, symbol, row[0])


_RETENTION_JOBS: Final = """
    select alter_job(job_id, scheduled => %s)
    from timescaledb_information.jobs
    where proc_name in ('retain_ohlcv', 'retain_ticks', 'retain_features')
"""


@pytest.fixture(scope="module")
def quiet_url(store_url: str) -> Iterator[str]:
    """The migrated database; its retention, which a native server runs by itself, is off and has dropped nothing."""
    with connect(store_url) as connection:
        connection.execute(_RETENTION_JOBS, (False,))
        connection.execute("delete from retention")
    yield store_url
    # Tests may have ended every connection there was.
    with connect(store_url) as connection:
        connection.execute(_RETENTION_JOBS, (True,))


@pytest.fixture
def connection(quiet_url: str) -> Iterator[Connection]:
    with connect(quiet_url) as connection:
        yield connection


@pytest.fixture
def market(quiet_url: str) -> Iterator[MarketData]:
    with MarketData.connect(quiet_url) as market:
        yield market


@pytest.fixture
def make_tape(connection: Connection) -> Callable[..., Tape]:
    def make(symbol: str = "BTC/USDT", *, exchange: str | None = None) -> Tape:
        return make_instrument(connection, symbol, exchange=exchange or f"exchange-{uuid4().hex[:12]}")

    return make


@pytest.fixture
def tape(make_tape: Callable[..., Tape]) -> Tape:
    return make_tape()


def random_bars(start: datetime, count: int, *, step: timedelta = timedelta(minutes=1), seed: int = 0) -> pd.DataFrame:
    """Bars one after another in whole ticks and lots."""
    rng = np.random.default_rng(seed)
    opened = 6_000_000 + rng.integers(-400, 400, count).cumsum()
    closed = opened + rng.integers(-300, 300, count)
    bars = {
        "open": opened,
        "high": np.maximum(opened, closed) + rng.integers(0, 200, count),
        "low": np.minimum(opened, closed) - rng.integers(0, 200, count),
        "close": closed,
        "volume": rng.integers(0, 3_000_000, count),
    }
    index = pd.DatetimeIndex([start + number * step for number in range(count)])
    return pd.DataFrame(bars, index=index, dtype=np.float64)


def random_trades(start: datetime, count: int, *, span: timedelta, seed: int = 0) -> pd.DataFrame:
    """Trades in order, many of them in one millisecond, at ordinary prices and amounts."""
    rng = np.random.default_rng(seed)
    offsets_ms = np.sort(rng.integers(0, span // timedelta(milliseconds=1), count)) // 40 * 40
    index = pd.DatetimeIndex(pd.Timestamp(start) + pd.to_timedelta(offsets_ms, unit="ms")).as_unit("us")
    trades = {
        "trade_id": 1000 + np.arange(count),
        "price": (6_000_000 + rng.integers(-400, 400, count)) / 10.0**PRICE_DECIMALS,
        "amount": rng.integers(1, 3_000_000, count) / 10.0**AMOUNT_DECIMALS,
        "side": pd.Categorical.from_codes(rng.integers(0, 3, count), dtype=SIDES),
    }
    return pd.DataFrame(trades, index=index.rename("time"))


def pandas_trade_bars(trades: pd.DataFrame, rule: str) -> pd.DataFrame:
    """Bars built from trades by pandas, as a reader should get them; those without a trade are left out."""
    lots = (trades["amount"] * 10.0**AMOUNT_DECIMALS).round()
    grouped = trades["price"].resample(rule, label="left", closed="left")
    bars = grouped.agg(["first", "max", "min", "last", "count"])
    bars.columns = ["open", "high", "low", "close", "trades"]
    for name, counted in (
        ("volume", lots),
        ("bought", lots.where(trades["side"] == "buy", 0)),
        ("sold", lots.where(trades["side"] == "sell", 0)),
    ):
        bars[name] = counted.resample(rule, label="left", closed="left").sum() / 10.0**AMOUNT_DECIMALS
    return bars.loc[bars["trades"] > 0, [*COLUMNS, "trades", "bought", "sold"]]


def _trade_batch(trades: pd.DataFrame) -> TradeBatch:
    ids, sides = trades["trade_id"].tolist(), {"buy": 1, "sell": -1, "unknown": 0}
    return TradeBatch(
        np.array([to_us(time.to_pydatetime()) for time in trades.index], dtype=np.int64),
        np.array([one if isinstance(one, int) else 0 for one in ids], dtype=np.int64),
        np.array([one if isinstance(one, str) else "" for one in ids], dtype=np.str_),
        trades["price"].to_numpy(dtype=np.float64),
        trades["amount"].to_numpy(dtype=np.float64),
        np.array([sides[side] for side in trades["side"]], dtype=np.int16),
    )


def random_books(times: Iterable[datetime], *, levels: tuple[int, int] = (20, 20), seed: int = 0) -> list[Snapshot]:
    """Snapshots at those times, each side with a random number of levels between the two."""
    rng = np.random.default_rng(seed)

    def side(best: int, direction: int) -> Side:
        count = int(rng.integers(levels[0], levels[1] + 1))
        prices = best + direction * np.cumsum(rng.integers(1, 9, count))
        amounts = rng.integers(1, 90_000, count)
        return list(zip((prices / 100).tolist(), (amounts / 1000).tolist(), strict=True))

    return [Snapshot(time, side(6_000_000, -1), side(6_000_000, 1), nonce=number) for number, time in enumerate(times)]


def _book_batch(books: Sequence[Snapshot]) -> BookBatch:
    times_us = [to_us(one.time) for one in books]
    bids, asks = (
        np.array([level for side in sides for level in side], dtype=np.float64).reshape(-1, 2)
        for sides in ([one.bids for one in books], [one.asks for one in books])
    )
    return BookBatch(
        np.array(times_us, dtype=np.int64),
        np.array([to_us(one.time + one.late) for one in books], dtype=np.int64),
        np.array([one.nonce for one in books], dtype=np.int64),
        np.array([len(one.bids) for one in books], dtype=np.int64),
        np.array([len(one.asks) for one in books], dtype=np.int64),
        bids[:, 0],
        bids[:, 1],
        asks[:, 0],
        asks[:, 1],
    )


def times(frame: pd.DataFrame) -> pd.DatetimeIndex:
    assert isinstance(frame.index, pd.DatetimeIndex)
    return frame.index


def in_units(bars: pd.DataFrame) -> pd.DataFrame:
    """The same bars at ordinary prices and amounts, as a reader should get them."""
    units = bars[COLUMNS] / 10.0**PRICE_DECIMALS
    units["volume"] = bars["volume"] / 10.0**AMOUNT_DECIMALS
    units.index = times(units).as_unit("us").rename("time")
    return units


def pandas_resample(bars: pd.DataFrame, rule: str) -> pd.DataFrame:
    """Longer bars by pandas, in ticks and lots; bars of which there is nothing are left out."""
    grouped = bars.resample(rule, label="left", closed="left")
    return grouped.agg({"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}).dropna()
