"""A month of several markets: which faults are planted in it, and what has to be stored and reported of it in the end.

What is expected is worked out with pandas from the sandbox's histories, past its server. How the month goes by is
`test_month_campaign`'s.
"""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any, Final, TypeAlias

import numpy as np
import pandas as pd

from tapehouse.book import BookBatch
from tapehouse.candle import Int64Array
from tapehouse.ranges import TimeRange, subtract_ranges
from tapehouse.sandbox import Fault, Market
from tapehouse.timeframe import to_ms

DAY: Final = timedelta(days=1)
MINUTE: Final = timedelta(minutes=1)
CANDLE_PATHS: Final = {"binance": "klines", "kraken": "OHLC", "bybit": "kline"}
TRADE_PATHS: Final = {"binance": "aggTrades", "kraken": "Trades"}
VALUES: Final = ["open", "high", "low", "close", "volume"]
BOOK_DEPTH: Final = 10
# What each kind of bad row is rejected for.
REASONS: Final = {
    "high_below_low": "high_below_open_close_low low_above_open_close_high",
    "negative_price": "price_not_positive",
    "negative_volume": "volume_negative",
}
# Faults do not meet: each has its part of the day, of two hours, and stays away from its ends, where fetches begin.
_PART: Final = 120
_PARTS: Final = 12
_MARGIN: Final = 30

# Kind, start, end, count, and the detail where that is known before.
Told: TypeAlias = tuple[str, datetime, datetime, int | None, str | None]


@dataclass(frozen=True)
class Kind:
    """A fault of a market's rows for some minutes of a day; what does not last is over before the day's repair."""

    exchange: str
    symbol: str
    fault: Any
    minutes: int
    lasts: bool = True
    dataset: str = "ohlcv"


# Several a day, one after the other and then from the first on again.
KINDS: Final = (
    Kind("binance", "BTC/USDT", "frozen_price", 40),
    Kind("bybit", "BTC/USDT", "missing_rows", 5),
    Kind("binance", "BTC/USDT", "zero_price", 1, dataset="trade"),
    Kind("kraken", "BTC/USD", "negative_price", 2),
    Kind("binance", "BTC/USDT", "corrected_rows", 3),
    Kind("bybit", "BTC/USDT", "frozen_price", 60),
    Kind("binance", "BTC/USDT", "missing_rows", 7),
    Kind("bybit", "BTC/USDT", "negative_price", 3, lasts=False),
    Kind("binance", "BTC/USDT", "price_spike", 1),
    Kind("bybit", "BTC/USDT", "negative_volume", 2),
    Kind("kraken", "BTC/USD", "missing_rows", 6),
    Kind("binance", "BTC/USDT", "status", 1, lasts=False),
    Kind("binance", "BTC/USDT", "high_below_low", 4),
    Kind("bybit", "BTC/USDT", "price_spike", 1),
    Kind("kraken", "BTC/USD", "unsampled", 60, dataset="order_book"),
    Kind("binance", "BTC/USDT", "missing_rows", 30, lasts=False),
)
KINDS_A_DAY: Final = 6
# In the last hours of the last day, so that a status tells of them: more than a hundredth of a day's rows.
MANY_REJECTED: Final = Kind("bybit", "BTC/USDT", "negative_volume", 20)


@dataclass(frozen=True)
class Plant:
    """A fault of that kind from that minute on."""

    kind: Kind
    start: datetime

    @property
    def end(self) -> datetime:
        return self.start + self.kind.minutes * MINUTE

    @property
    def range(self) -> TimeRange:
        return self.start, self.end

    def fault(self) -> Fault:
        """What is wrong with the exchange; a refusal is of all of a day."""
        kind = self.kind
        paths = CANDLE_PATHS if kind.dataset == "ohlcv" else TRADE_PATHS
        where: Any = {"kind": kind.fault, "path": paths[kind.exchange], "symbol": kind.symbol}
        where["host"] = f"api.{kind.exchange}.com"
        if kind.fault == "status":
            return Fault(**where, status=451)
        end = self.start + timedelta(milliseconds=1) if kind.fault == "zero_price" else self.end
        return Fault(**where, start_ms=to_ms(self.start), end_ms=to_ms(end))


@dataclass(eq=False)
class TruthOfMarket:
    """What a market did from `start` to `end`, and what of that is stored, in whole ticks and lots."""

    market: Market
    start: datetime
    end: datetime
    plants: list[Plant] = field(default_factory=list[Plant])

    @property
    def name(self) -> tuple[str, str]:
        return self.market.exchange, self.market.symbol

    @property
    def has_trades(self) -> bool:
        """Whether the exchange gives older trades."""
        return self.market.exchange in TRADE_PATHS

    @cached_property
    def traded(self) -> pd.DataFrame:
        """All trades that there were."""
        history: Any = self.market.history
        trades = history.trades(to_ms(self.start), to_ms(self.end))
        time_ms = _read_as_seconds(trades.time_ns) if self.market.exchange == "kraken" else trades.time_ms
        index = pd.DatetimeIndex(time_ms.astype("datetime64[ms]").astype("datetime64[us]"), tz="UTC")
        side = np.where(trades.buyer_took == 1, "buy", "sell")
        values = {"trade_id": trades.trade_id, "price": trades.price, "amount": trades.amount, "side": side}
        return pd.DataFrame(values, index=index)

    @cached_property
    def minutes_traded(self) -> pd.DataFrame:
        """The candles of the minutes that had trades."""
        return bars_of_trades(self.traded, MINUTE)

    def trades(self) -> pd.DataFrame:
        """The trades that are stored: all but those that came without a price."""
        bad = [plant.start for plant in self._planted("zero_price")]
        return self.traded[~self.traded.index.isin(bad)]

    def candles(self) -> pd.DataFrame:
        """The candles that are stored."""
        true = self._given()
        rows = true.copy()
        for plant in self._planted(*REASONS, "missing_rows"):
            # What the exchange does not give is built from trades where there are some.
            if not self.has_trades and plant.kind.lasts:
                rows = rows.drop(self._minutes(rows, plant).index)
        for plant in self._planted("frozen_price"):
            minutes = self._minutes(rows, plant).index
            rows.loc[minutes, VALUES[:4]] = true["close"].loc[plant.start - MINUTE]
            rows.loc[minutes, "volume"] = 0
        for plant in self._planted("corrected_rows"):
            minutes = self._minutes(rows, plant).index
            rows.loc[minutes, "close"] = rows.loc[minutes, "high"]
            rows.loc[minutes, "volume"] += 10**self.market.amount_decimals
        for plant in self._planted("price_spike"):
            rows.loc[plant.start, "high"] = self._spike(int(true["high"].loc[plant.start]))
        return rows

    def books(self, day: datetime, until: datetime, every: timedelta) -> tuple[BookBatch, list[TimeRange]]:
        """The order books of a day, one every so often, and what was sampled of it."""
        sampled = subtract_ranges([(day, until)], [plant.range for plant in self._planted("unsampled")])
        times = [start + number * every for start, end in sampled for number in range(-((start - end) // every))]
        history: Any = self.market.history
        books = [history.book(to_ms(time), BOOK_DEPTH) for time in times]
        times_us = np.array([book.time_ms * 1000 for book in books], dtype=np.int64)
        counts = [np.array([len(getattr(book, side)) for book in books]) for side in ("bid_price", "ask_price")]
        price, lot = 10.0**self.market.price_decimals, 10.0**self.market.amount_decimals
        levels = [
            np.concatenate([getattr(book, name) for book in books]) / (price if name.endswith("price") else lot)
            for name in ("bid_price", "bid_amount", "ask_price", "ask_amount")
        ]
        nonces = np.array([book.nonce for book in books])
        return BookBatch(times_us, times_us + 50_000, nonces, *counts, *levels), sampled

    def told(self, dataset: str) -> Iterator[Told]:
        """What the reports of all days say of a dataset."""
        differing: dict[datetime, int] = defaultdict(int)
        for plant in self.plants:
            if plant.kind.dataset == dataset:
                yield from self._told_of(plant)
                differing[plant.start.replace(hour=0, minute=0, second=0, microsecond=0)] += self._differing(plant)
        for day, count in differing.items():
            if count:
                yield "disagreement", day, day + DAY, count, None

    def _told_of(self, plant: Plant) -> Iterator[Told]:
        kind, (start, end) = plant.kind, plant.range
        match kind.fault:
            case "frozen_price":
                yield "stale", start, end, kind.minutes, None
            case "price_spike":
                yield "outlier", start, end, 1, None
            case "zero_price":
                yield "rejected", start, start, 1, "price_not_positive"
                yield "gap", start, start + timedelta(milliseconds=1), None, "rejected"
            case "unsampled":
                yield "gap", start, end, None, "not_sampled"
            case "missing_rows" if kind.lasts and not self.has_trades:
                yield "gap", start, end, kind.minutes, "exchange_empty"
            case "high_below_low" | "negative_price" | "negative_volume":
                yield "rejected", start, end - MINUTE, kind.minutes, REASONS[kind.fault]
                if kind.lasts and not self.has_trades:
                    yield "gap", start, end, kind.minutes, "rejected"
            case _:
                pass

    def _differing(self, plant: Plant) -> int:
        """In how many minutes the candles say otherwise than the trades."""
        if not self.has_trades or plant.kind.fault not in ("frozen_price", "corrected_rows", "price_spike"):
            return 0
        if plant.kind.fault == "frozen_price":
            return len(self._minutes(self.minutes_traded, plant))
        return plant.kind.minutes

    def plant(self, kind: Kind, day: datetime, part: int, rng: random.Random) -> None:
        """Plant a fault where nothing around it looks like it."""
        first = day + (part * _PART + _MARGIN + rng.randrange(5)) * MINUTE
        ways = (first + offset * MINUTE for offset in range(_PART - 2 * _MARGIN))
        start = next(start for start in ways if self._suits(kind, start))
        if kind.fault == "zero_price":
            start = self.traded.loc[start : start + MINUTE].index[0].to_pydatetime()
        self.plants.append(Plant(kind, start))

    def _suits(self, kind: Kind, start: datetime) -> bool:
        """Whether prices move right before and after, and but for a standstill there are trades in every minute."""
        minutes, end = self.minutes_traded, start + kind.minutes * MINUTE
        moving = minutes[minutes["high"] > minutes["low"]].loc[start - MINUTE : end]
        around = {pd.Timestamp(start - MINUTE), pd.Timestamp(end)} <= set(moving.index)
        if kind.fault == "frozen_price" or kind.minutes > 10:
            return around
        return around and len(moving) == kind.minutes + 2

    def _planted(self, *faults: str) -> list[Plant]:
        return [plant for plant in self.plants if plant.kind.fault in faults]

    def _minutes(self, frame: pd.DataFrame, plant: Plant) -> pd.DataFrame:
        return frame.loc[plant.start : plant.end - timedelta(microseconds=1)]

    def _given(self) -> pd.DataFrame:
        """The candles as the exchange gives them: minutes without trades have the close before, and no volume."""
        index = pd.date_range(self.start, self.end, freq="1min", inclusive="left", unit="us")
        rows = self.minutes_traded.reindex(index)[VALUES]
        before: Any = self.market.history.last_close(to_ms(self.start))
        close = rows["close"].ffill().fillna(before)
        for name in VALUES[:4]:
            rows[name] = rows[name].fillna(close)
        return rows.fillna({"volume": 0}).astype(np.int64)

    def _spike(self, high: int) -> int:
        """A tenth higher, with no more decimals than the price had, as the sandbox writes it."""
        price = Decimal(high).scaleb(-self.market.price_decimals)
        spike = (price * Decimal("1.1")).quantize(price.normalize())
        return int(spike.scaleb(self.market.price_decimals))


def _read_as_seconds(time_ns: Int64Array) -> Int64Array:
    """In milliseconds, what ccxt makes of a JSON number of seconds with the seven decimals that Kraken writes."""
    seconds = [(one + 50) // 100 / 10**7 for one in time_ns.tolist()]
    return np.array([int(one * 1000) for one in seconds], dtype=np.int64)


def bars_of_trades(trades: pd.DataFrame, length: timedelta) -> pd.DataFrame:
    """Bars of that length from trades, of which each has one."""
    grouped = trades.groupby(_floor(trades, length))
    bars = grouped["price"].agg(["first", "max", "min", "last", "count"])
    bars.columns = [*VALUES[:4], "trades"]
    bars.insert(4, "volume", grouped["amount"].sum())
    return bars


def bars_of_candles(candles: pd.DataFrame, length: timedelta) -> pd.DataFrame:
    """Longer candles from those of a minute."""
    grouped = candles.groupby(_floor(candles, length))
    how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    return grouped.agg(how).assign(minutes=grouped.size())


def _floor(frame: pd.DataFrame, length: timedelta) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(frame.index).floor(pd.Timedelta(length))


def plant_all(truths: Sequence[TruthOfMarket], days: Sequence[datetime], seed: int) -> None:
    """Plant some faults on each day, on the last day also what a status tells of."""
    rng = random.Random(seed)
    of_name = {truth.name: truth for truth in truths}
    for number, day in enumerate(days):
        kinds = [KINDS[(number * KINDS_A_DAY + one) % len(KINDS)] for one in range(KINDS_A_DAY)]
        for part, kind in enumerate(kinds):
            of_name[kind.exchange, kind.symbol].plant(kind, day, part, rng)
    of_name[MANY_REJECTED.exchange, MANY_REJECTED.symbol].plant(MANY_REJECTED, days[-1], _PARTS - 1, rng)
