"""Recorded markets: minutes that were recorded once, served again exactly as they were.

A directory of recordings holds klines/binance_usdm_1m/*.feather, klines/binance_spot_1m/*.json.gz
and klines/coinbase_1m/*.csv.gz, and l2_trades, which is `tapehouse.sandbox.trading`; other files in it
are left alone.
"""

import gzip
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import TypedDict, cast

import numpy as np

from tapehouse.candle import Float64Array, Int64Array
from tapehouse.errors import InputError
from tapehouse.sandbox.bars import DAY_MS, MINUTE_MS, Bars, Grid, regroup
from tapehouse.sandbox.market import Market
from tapehouse.sandbox.tape import Book, BookChange, Trades, empty_book, no_trades
from tapehouse.sandbox.ticks import announced_decimals, decimals_needed, most_decimals, whole
from tapehouse.sandbox.trading import recorded_trading
from tapehouse.timeframe import to_ms


class RecordedHistory:
    """The minutes of a recording; each is complete as soon as it begins. It has neither trades nor books."""

    def __init__(self, minutes: Bars, *, price_decimals: int, amount_decimals: int) -> None:
        self.price_decimals = price_decimals
        self.amount_decimals = amount_decimals
        self.first_ms = int(minutes.open_ms[0])
        self.end_ms: int | None = int(minutes.open_ms[-1]) + MINUTE_MS
        self._minutes = minutes

    def bars(self, grid: Grid, start_ms: int, end_ms: int, *, now_ms: int) -> Bars:
        """Bars that open in [start_ms, end_ms), both on the grid, of the minutes that have begun by `now_ms`."""
        return regroup(self._minutes.between(start_ms, min(end_ms, now_ms + 1)), grid)

    def last_close(self, before_ms: int) -> int | None:
        """The last close, in ticks, of a minute before that time."""
        index = int(np.searchsorted(self._minutes.open_ms, before_ms)) - 1
        return int(self._minutes.close[index]) if index >= 0 else None

    def rank_at(self, time_ns: int) -> int:  # noqa: ARG002 -- the same at all times
        """Nought: there are no trades."""
        return 0

    def rank_of(self, trade_id: int) -> int:  # noqa: ARG002 -- the same for all ids
        """Nought: there are no trades."""
        return 0

    def ranked(self, first: int, stop: int) -> Trades:  # noqa: ARG002 -- the same for all ranks
        """No trades."""
        return no_trades()

    def book(self, now_ms: int, depth: int) -> Book:  # noqa: ARG002 -- empty at every depth
        """An empty book."""
        return empty_book(now_ms, 0)

    def book_times(self, start_ms: int, end_ms: int) -> Sequence[int]:  # noqa: ARG002 -- the same at all times
        """No time: the book never changes."""
        return ()

    def book_changes(self, start_ms: int, end_ms: int) -> Sequence[BookChange]:  # noqa: ARG002 -- the same at all times
        """No change."""
        return ()


def recorded_markets(directory: Path, *, shift_to_now: bool = False, now_ms: int | None = None) -> list[Market]:
    """The markets recorded below the directory: their minutes, or their trading where no minutes of them are there.

    So no market is served twice: of one that is recorded both ways the minutes are, and given the folder
    `l2_trades` itself, the trading is. `shift_to_now` moves each exchange's minutes by the same number of
    whole days, so that the latest ends within the day before `now_ms` (by default this moment) at its own time
    of day; and likewise all trading.
    """
    recordings = [
        *(_read_feather(path) for path in sorted(directory.glob("klines/binance_usdm_1m/*-1m-futures.feather"))),
        *(_read_json(path) for path in sorted(directory.glob("klines/binance_spot_1m/*.json.gz"))),
        *_read_days(sorted(directory.glob("klines/coinbase_1m/*_1m.csv.gz"))),
    ]
    spot = {recording.symbol for recording in recordings if recording.exchange == "binance"}
    trading = recorded_trading(directory, shift_to_now=shift_to_now, now_ms=now_ms, without=spot)
    if not recordings and not trading:
        raise InputError(
            f"{directory} holds no recordings: give the directory above klines/binance_usdm_1m or l2_trades."
        )
    shifts_ms: dict[str, int] = {}
    if shift_to_now:
        now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
        for exchange in {recording.exchange for recording in recordings}:
            end_ms = max(int(r.times_ms[-1]) for r in recordings if r.exchange == exchange) + MINUTE_MS
            shifts_ms[exchange] = (now_ms - end_ms) // DAY_MS * DAY_MS
    minutes = [_market(recording, shift_ms=shifts_ms.get(recording.exchange, 0)) for recording in recordings]
    return minutes + trading


def market_from_rows(
    exchange: str,
    symbol: str,
    rows: Iterable[Sequence[float | str]],
    *,
    price_decimals: int | None = None,
    amount_decimals: int | None = None,
) -> Market:
    """A market of one-minute rows: open time in ms, open, high, low, close, volume; in order of time.

    The exchange announces the decimals given, else those that the rows need; the rows are
    served exactly in any case.
    """
    table = [[float(value) for value in row] for row in rows]
    if not table or any(len(row) != 6 for row in table):
        raise InputError("A market needs rows of six: open time in ms, open, high, low, close, volume.")
    values = np.array(table)
    recording = _Recording(exchange, symbol, values[:, 0].astype(np.int64), values[:, 1:])
    return _market(recording, price_decimals=price_decimals, amount_decimals=amount_decimals)


@dataclass(frozen=True, slots=True, eq=False)
class _Recording:
    """Minutes as read: open times, and a column each for open, high, low, close and volume."""

    exchange: str
    symbol: str
    times_ms: Int64Array
    values: Float64Array


class _JsonMinute(TypedDict):
    base: str
    counter: str
    openTimeInMillis: int
    open: str
    high: str
    low: str
    close: str
    volume: str


def _read_feather(path: Path) -> _Recording:
    """A file as freqtrade writes it, named BASE_QUOTE_SETTLE-1m-futures.feather."""
    import pandas as pd  # half of the time the sandbox takes to start, and needed here only

    frame = pd.read_feather(path)
    base, quote, settle = path.name.partition("-")[0].split("_")
    times_ms = frame["date"].dt.tz_localize(None).to_numpy().astype("datetime64[ms]").astype(np.int64)
    values = frame[["open", "high", "low", "close", "volume"]].to_numpy(dtype=np.float64)
    return _Recording("binanceusdm", f"{base}/{quote}:{settle}", times_ms, values)


def _read_json(path: Path) -> _Recording:
    """A list of minutes with decimals as text."""
    with gzip.open(path) as file:
        minutes = cast("list[_JsonMinute]", json.load(file))
    times_ms = np.array([minute["openTimeInMillis"] for minute in minutes], dtype=np.int64)
    columns = ("open", "high", "low", "close", "volume")
    values = np.array([[float(minute[column]) for column in columns] for minute in minutes])
    return _Recording("binance", f"{minutes[0]['base']}/{minutes[0]['counter']}", times_ms, values)


def _read_days(paths: list[Path]) -> Iterator[_Recording]:
    """Files of a day each as Lean writes them, named basequote_YYYYMMDD_1m.csv.gz, minutes in ms since midnight."""
    for name, days in groupby(paths, key=lambda path: path.name.partition("_")[0]):
        tables: list[Float64Array] = []
        for path in days:
            midnight = datetime.strptime(path.name.split("_")[1], "%Y%m%d").replace(tzinfo=UTC)
            table = np.loadtxt(path, delimiter=",")
            table[:, 0] += to_ms(midnight)
            tables.append(table)
        table = np.concatenate(tables)
        symbol = f"{name[:3]}/{name[3:]}".upper()
        yield _Recording("coinbaseexchange", symbol, table[:, 0].astype(np.int64), table[:, 1:])


def _market(
    recording: _Recording, *, shift_ms: int = 0, price_decimals: int | None = None, amount_decimals: int | None = None
) -> Market:
    name = f"{recording.exchange} {recording.symbol}"
    times_ms = recording.times_ms + shift_ms
    if np.any(np.diff(times_ms) <= 0) or np.any(times_ms % MINUTE_MS):
        raise InputError(f"The rows of {name} must be whole minutes in order of time, none of them twice.")
    prices, volumes = recording.values[:, :4], recording.values[:, 4]
    price_needs, amount_needs = decimals_needed(prices, name), decimals_needed(volumes, name)
    tick_decimals, lot_decimals = most_decimals(price_needs), most_decimals(amount_needs)
    ticks, lots = whole(prices, tick_decimals), whole(volumes, lot_decimals)
    minutes = Bars(
        times_ms,
        *(np.ascontiguousarray(ticks[:, column]) for column in range(4)),
        volume=lots,
        trades=(lots > 0).astype(np.int64),
        turnover=ticks[:, 3].astype(np.float64) * lots,
        taker_bought=lots // 2,
    )
    return Market(
        recording.exchange,
        recording.symbol,
        announced_decimals(price_needs) if price_decimals is None else price_decimals,
        announced_decimals(amount_needs) if amount_decimals is None else amount_decimals,
        active=True,
        history=RecordedHistory(minutes, price_decimals=tick_decimals, amount_decimals=lot_decimals),
    )
