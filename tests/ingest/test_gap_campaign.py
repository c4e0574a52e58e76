"""Gaps of all causes are planted in series of several exchanges: all are found, none is invented, some are repaired.

What to expect is worked out bar by bar, from what was planted and from the sandbox's own histories. A few series in
every test run; forty with `make campaign`.
"""

import asyncio
import os
import random
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby
from typing import Any, Final, TypeAlias
from uuid import uuid4

import pytest

from tapehouse.errors import ExchangeError
from tapehouse.exchange import Exchange
from tapehouse.ingest import (
    CandleRequest,
    FallbackName,
    Repaired,
    SeriesRequest,
    TradeRequest,
    ingest_plan,
    ingest_series,
    open_series,
    plan_backfill,
    repair_exchange,
)
from tapehouse.query.market import MarketData
from tapehouse.sandbox import Fault, Market, Sandbox, generated_markets
from tapehouse.sandbox.bars import Grid
from tapehouse.store.connection import Connection, connect
from tapehouse.store.gaps import AskedSeries, Gap, find_gaps
from tapehouse.timeframe import Timeframe, from_ms, timeframe, to_ms
from tests.ingest.conftest import OpenExchange

IS_FULL: Final = os.environ.get("TAPEHOUSE_CAMPAIGN") == "full"
MINUTE: Final = timedelta(minutes=1)
ONE_MINUTE: Final = timeframe("1m")
MS: Final = timedelta(milliseconds=1)
# Where the exchanges' clock begins, so that what lies beyond a history does not move; it goes on by the seconds
# that a client counts itself.
NOW: Final = datetime(2026, 3, 2, tzinfo=UTC)
BASE: Final = NOW - timedelta(hours=12)
BARS: Final = 600
# Kraken gives its last 720 candles, whatever is asked for.
KRAKEN_BARS, KRAKEN_LOST = 800, 80
CANDLE_PATHS: Final = {
    "binance": "klines",
    "binanceusdm": "klines",
    "okx": "candles",
    "bybit": "kline",
    "coinbaseexchange": "/candles",
    "kraken": "OHLC",
}
LEAVES_OUT_EMPTY: Final = {"coinbaseexchange"}
FALLBACKS: Final = {"okx": "bybit", "kraken": "coinbaseexchange"}
REFUSED: Final[dict[str, Any]] = {"kind": "status", "status": 451}

Expected: TypeAlias = tuple[datetime, datetime, str]
Rows: TypeAlias = dict[int, tuple[float, ...]]


@dataclass(frozen=True)
class Plant:
    """A gap of so many units (bars, or milliseconds of trades) from that one on; what `lasts` stays as it is."""

    first: int
    units: int
    cause: str
    lasts: bool = False

    @property
    def stop(self) -> int:
        return self.first + self.units


@dataclass
class Planted:
    """One series: from when on it is wanted, how far, and what is planted in it."""

    exchange: str
    symbol: str
    timeframe: Timeframe | None = ONE_MINUTE
    start: datetime = BASE
    units: int = BARS
    plants: list[Plant] = field(default_factory=list[Plant])
    # What the store's own data may fill of it.
    own: range = range(0)

    @property
    def step(self) -> timedelta:
        return self.timeframe.length if self.timeframe else MS

    @property
    def path(self) -> str:
        return CANDLE_PATHS[self.exchange] if self.timeframe else "aggTrades"

    def at(self, unit: int) -> datetime:
        return self.start + unit * self.step

    def request(self, first: int, stop: int) -> SeriesRequest:
        if self.timeframe is None:
            return TradeRequest(self.symbol, self.at(first), self.at(stop))
        return CandleRequest(self.symbol, self.timeframe, self.at(first), self.at(stop))

    def planted(self, *causes: str) -> list[Plant]:
        return [plant for plant in self.plants if plant.cause in causes]

    def answered(self) -> list[tuple[int, int]]:
        """What is asked for while the exchange is sound enough to answer."""
        stops = sorted(self.planted("never_asked", "failed"), key=lambda plant: plant.first)
        firsts = [0, *(plant.stop for plant in stops)]
        ends = [*(plant.first for plant in stops), self.units]
        return [(first, end) for first, end in zip(firsts, ends, strict=True) if first < end]

    def faults(self, *, lasting: bool) -> list[Fault]:
        """What is wrong with the exchange's rows; of what lasts only, or of all."""
        kinds: dict[str, Any] = {"rejected": "negative_price", "exchange_empty": "missing_rows"}
        return [
            Fault(
                kinds[plant.cause],
                path=self.path,
                symbol=self.symbol,
                start_ms=to_ms(self.at(plant.first)),
                end_ms=to_ms(self.at(plant.stop)),
            )
            for plant in self.planted(*kinds)
            if plant.lasts or not lasting
        ]

    def refusal(self) -> Fault:
        return Fault(**REFUSED, path=self.path, symbol=self.symbol)


class Histories:
    """What the sandbox's markets did, read past its server."""

    def __init__(self, markets: Sequence[Market]) -> None:
        self._markets = {(market.exchange, market.symbol): market for market in markets}

    def traded(self, series: Planted, exchange: str | None = None) -> Rows:
        """The candles of the bars in which that exchange, by default the series' own, had trades."""
        market = self._markets[exchange or series.exchange, series.symbol]
        grid, start_ms = Grid(int(series.step / MS)), to_ms(series.start)
        bars = market.history.bars(grid, start_ms, to_ms(series.at(series.units)), now_ms=to_ms(NOW))
        price, lot = 10.0**market.price_decimals, 10.0**market.amount_decimals
        columns = [(getattr(bars, name) / price).tolist() for name in ("open", "high", "low", "close")]
        units = ((bars.open_ms - start_ms) // grid.length_ms).tolist()
        return dict(zip(units, zip(*columns, (bars.volume / lot).tolist(), strict=True), strict=True))

    def given(self, series: Planted, exchange: str | None = None) -> Rows:
        """The candles that the exchange gives: most fill bars without trades with the close before."""
        exchange, rows = exchange or series.exchange, self.traded(series, exchange)
        if exchange in LEAVES_OUT_EMPTY:
            return rows
        market = self._markets[exchange, series.symbol]
        last, end = market.history.last_close(to_ms(series.start)), self.ended(series)
        close = None if last is None else last / 10.0**market.price_decimals
        filled: Rows = {}
        for unit in range(series.units if end is None else end):
            if unit in rows:
                filled[unit], close = rows[unit], rows[unit][3]
            elif close is not None:
                filled[unit] = (close, close, close, close, 0.0)
        return filled

    def begun(self, series: Planted) -> int:
        """The bar of the first trade there ever was."""
        first_ms = self._markets[series.exchange, series.symbol].history.first_ms
        return max(0, (from_ms(first_ms) - series.start) // series.step)

    def ended(self, series: Planted) -> int | None:
        """The bar behind the last one of a market that is no longer traded."""
        end_ms = self._markets[series.exchange, series.symbol].history.end_ms
        return None if end_ms is None or from_ms(end_ms) > NOW else max(self.traded(series)) + 1

    def trade_times(self, series: Planted) -> list[int]:
        """In which milliseconds of the series there are trades."""
        history = self._markets[series.exchange, series.symbol].history
        first, stop = (history.rank_at(to_ms(series.at(unit)) * 1_000_000) for unit in (0, series.units))
        return ((history.ranked(first, stop).time_ns // 1_000_000) - to_ms(series.start)).tolist()


class Campaign:
    """The series, where they are stored, and what is expected of them."""

    def __init__(
        self, series: Sequence[Planted], sandbox: Sandbox, connection: Connection, open_exchange: OpenExchange
    ) -> None:
        self.series = series
        self._sandbox = sandbox
        self._connection = connection
        self._open_exchange = open_exchange
        self._histories = Histories(sandbox.markets)
        self.stored: dict[int, AskedSeries] = {}

    def _open(self, exchange_id: str) -> AbstractAsyncContextManager[Exchange]:
        return self._open_exchange(exchange_id, self._sandbox.url)

    async def plant(self) -> None:
        for exchange_id, group in groupby(self.series, key=lambda one: one.exchange):
            async with self._open(exchange_id) as exchange:
                for series in group:
                    await self._plant(exchange, series)

    async def _plant(self, exchange: Exchange, series: Planted) -> None:
        stored = self.stored[id(series)] = await open_series(exchange, self._connection, series.request(0, 1))
        for fault in series.faults(lasting=False):
            self._sandbox.faults.add(fault)
        if self._histories.begun(series) and series.timeframe:
            plan = await plan_backfill(exchange, self._connection, stored, series.at(0), series.at(series.units))
            await ingest_plan(exchange, self._connection, stored, plan)
        else:
            for first, stop in series.answered():
                await ingest_series(exchange, self._connection, stored, series.at(first), series.at(stop))
        self._sandbox.faults.add(series.refusal())
        for plant in series.planted("failed"):
            with suppress(ExchangeError):
                await ingest_series(exchange, self._connection, stored, series.at(plant.first), series.at(plant.stop))
        self._sandbox.faults.clear()

    async def repair(self) -> list[Repaired]:
        """Repair each exchange while what lasts is wrong with it."""
        outcomes: list[Repaired] = []
        for exchange_id in dict.fromkeys(one.exchange for one in self.series):
            ours = [one for one in self.series if one.exchange == exchange_id]
            for series in ours:
                for fault in series.faults(lasting=True):
                    self._sandbox.faults.add(fault)
                if any(plant.lasts for plant in series.planted("failed")):
                    self._sandbox.faults.add(series.refusal())
            repair = await repair_exchange(
                exchange_id,
                self._connection,
                [gap for series in ours for gap in self.found(series)],
                fallbacks=[FallbackName(FALLBACKS[exchange_id])] if exchange_id in FALLBACKS else [],
                open_exchange=self._open,
            )
            assert repair.error is None
            outcomes += repair.repaired
            self._sandbox.faults.clear()
        return outcomes

    def found(self, series: Planted) -> list[Gap]:
        return find_gaps(self._connection, self.stored[id(series)], series.at(0), series.at(series.units))

    def expected(self, series: Planted) -> list[Expected]:
        """The gaps there have to be before a repair."""
        return _as_ranges(series, self._causes(series, self._given(series)))

    def expected_left(self, series: Planted) -> list[Expected]:
        """The gaps there have to be after it."""
        given, filled = self._given(series), self.expected_filled(series)
        causes = self._causes(series, given)
        for plant in series.plants:
            for unit in range(plant.first, plant.stop):
                if not plant.lasts:
                    causes[unit] = None if series.timeframe is None or unit in given else "exchange_empty"
        return _as_ranges(series, [None if unit in filled else cause for unit, cause in enumerate(causes)])

    def expected_filled(self, series: Planted) -> Rows:
        """The candles that come from elsewhere, since the exchange does not give them."""
        if series.timeframe is None:
            return {}
        lasting = [unit for plant in series.plants if plant.lasts for unit in range(plant.first, plant.stop)]
        own = self._own(series)
        fallback = FALLBACKS.get(series.exchange)
        other = self._histories.given(series, fallback) if fallback and self._is_listed(fallback, series) else {}
        return {unit: rows[unit] for unit in lasting for rows in (own if unit in own else other,) if unit in rows}

    def expected_rows(self, series: Planted) -> Rows:
        """All candles there have to be after a repair."""
        gone = {
            unit
            for start, end, _ in self.expected_left(series)
            for unit in range((start - series.start) // series.step, (end - series.start) // series.step)
        }
        rows = self._given(series) | self.expected_filled(series)
        return {unit: row for unit, row in rows.items() if unit not in gone}

    def _is_listed(self, exchange: str, series: Planted) -> bool:
        return any((one.exchange, one.symbol) == (exchange, series.symbol) for one in self._sandbox.markets)

    def _given(self, series: Planted) -> Rows:
        return self._histories.given(series) if series.timeframe else {}

    def _own(self, series: Planted) -> Rows:
        """1m candles from trades; longer ones from the 1m candles that the exchange gives."""
        if series.timeframe == ONE_MINUTE:
            return {unit: row for unit, row in self._histories.traded(series).items() if unit in series.own}
        if not series.own:
            return {}
        length = int(series.step / MINUTE)
        minutes = self._histories.given(Planted(series.exchange, series.symbol, units=series.units * length))
        return {unit: _together([minutes[unit * length + one] for one in range(length)]) for unit in series.own}

    def _causes(self, series: Planted, given: Rows) -> list[str | None]:
        """Why each unit has no row, None where it has one."""
        if series.timeframe is None:
            causes: list[str | None] = [None] * series.units
        else:
            causes = [None if unit in given else "exchange_empty" for unit in range(series.units)]
            begun, ended = self._histories.begun(series), self._histories.ended(series)
            causes[:begun] = ["before_listing"] * begun
            if ended is not None:
                causes[ended:] = ["after_delisting"] * (series.units - ended)
        for plant in series.plants:
            for unit in range(plant.first, plant.stop):
                # What there is not can't be rejected.
                is_there = series.timeframe is None or unit in given
                causes[unit] = plant.cause if is_there or plant.cause != "rejected" else "exchange_empty"
        return causes


def _together(rows: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    opens, highs, lows, closes, volumes = zip(*rows, strict=True)
    return opens[0], max(highs), min(lows), closes[-1], float(sum(map(Decimal, map(str, volumes))))


def _as_ranges(series: Planted, causes: Sequence[str | None]) -> list[Expected]:
    ranges: list[Expected] = []
    unit = 0
    for cause, run in groupby(causes):
        stop = unit + len(list(run))
        if cause is not None:
            ranges.append((series.at(unit), series.at(stop), cause))
        unit = stop
    return ranges


def plants(rng: random.Random, count: int, *, units: int = BARS, lasting: bool = True) -> list[Plant]:
    """Gaps of all causes that a fault or a pause makes, in random places, none beside another."""
    planted: list[Plant] = []
    room = units // count
    for place in range(count):
        cause = rng.choice(("never_asked", "failed", "rejected", "exchange_empty"))
        size = rng.randint(1, 6 if cause == "rejected" else room // 3)
        lasts = lasting and cause in ("rejected", "exchange_empty") and rng.random() < 0.4
        planted.append(Plant(place * room + rng.randint(2, room // 2), size, cause, lasts))
    return planted


def markets_planted(rng: random.Random, histories: Histories) -> list[Planted]:
    """The series of the campaign; in a short one few of each kind."""
    often = 6
    extras = [f"EXTRA{number:03d}/USDT" for number in range(1, 13 if IS_FULL else 2)]
    some = [
        *(Planted("binance", symbol, plants=plants(rng, often)) for symbol in extras),
        # Minutes that the exchange does not give, and trades of them.
        Planted("binance", "BTC/USDT", plants=[*_lasting(100, 30), Plant(300, 20, "failed")], own=range(100, 130)),
        Planted("binance", "BTC/USDT", None, BASE + 100 * MINUTE, 30 * 60_000),
        # Longer candles that the exchange does not give, and the minutes of them.
        Planted("binance", "ETH/USDT", units=300),
        Planted("binance", "ETH/USDT", timeframe("5m"), units=60, plants=_lasting(10, 20), own=range(60)),
        _trades_with_gaps(rng, histories),
        Planted("binance", "EMBER/USDT", start=datetime(2025, 7, 1, 6, tzinfo=UTC)),
        Planted("binance", "RELIC/USDT", start=datetime(2025, 3, 31, 0, tzinfo=UTC), plants=[Plant(50, 9, "failed")]),
        Planted("okx", "BTC/USDT", plants=[*plants(rng, often)]),
        Planted(
            "kraken",
            "BTC/USD",
            start=NOW - KRAKEN_BARS * MINUTE,
            units=KRAKEN_BARS,
            plants=[*_lost()],
            own=range(20, 60),
        ),
        Planted("kraken", "BTC/USD", None, NOW - (KRAKEN_BARS - 20) * MINUTE, 40 * 60_000),
    ]
    if not IS_FULL:
        return some
    more = [
        *(Planted("binanceusdm", symbol, plants=plants(rng, often)) for symbol in ("BTC/USDT:USDT", "ETH/USDT:USDT")),
        Planted("binanceusdm", "EMBER/USDT:USDT", start=datetime(2025, 7, 1, 4, tzinfo=UTC)),
        Planted("binance", "EMBER/USDT", timeframe("5m"), datetime(2025, 7, 1, tzinfo=UTC), 200),
        Planted(
            "binance", "RELIC/USDT", timeframe("5m"), datetime(2025, 3, 31, tzinfo=UTC), 200, plants(rng, 3, units=90)
        ),
        Planted("binance", "SOL/USDT", timeframe("5m"), BASE - timedelta(days=3), plants=plants(rng, often)),
        Planted("binance", "ETH/BTC", timeframe("15m"), BASE - timedelta(days=9), plants=plants(rng, often)),
        Planted("okx", "ETH/USDT", plants=plants(rng, often)),
        # An exchange that gives nothing of one market, neither before nor while it is repaired.
        Planted("okx", "SOL/USDT", plants=[Plant(100, 20, "failed", lasts=True), Plant(400, 5, "failed", lasts=True)]),
        Planted("okx", "QUILL/USDT", timeframe("1h"), BASE - timedelta(days=30), 600, plants(rng, often)),
        *(Planted("bybit", f"{base}/USDT", plants=plants(rng, often)) for base in ("BTC", "ETH", "SOL", "QUILL")),
        Planted("bybit", "ETH/USDT", timeframe("5m"), BASE - timedelta(days=5), plants=plants(rng, often)),
        Planted("bybit", "BTC/USDT", None, BASE, 60_000, [Plant(0, 60_000, "beyond_exchange_history", lasts=True)]),
        *(Planted("coinbaseexchange", f"{base}/USD", plants=plants(rng, often)) for base in ("BTC", "ETH", "SOL")),
        Planted("coinbaseexchange", "BTC/USD", timeframe("1h"), BASE - timedelta(days=30), plants=plants(rng, often)),
        Planted(
            "kraken",
            "ETH/USD",
            start=NOW - KRAKEN_BARS * MINUTE,
            units=KRAKEN_BARS,
            plants=[*_lost(), Plant(400, 30, "failed")],
        ),
        Planted(
            "kraken",
            "SOL/USD",
            start=NOW - KRAKEN_BARS * MINUTE,
            units=KRAKEN_BARS,
            plants=[*_lost(), Plant(300, 5, "rejected")],
        ),
    ]
    return sorted([*some, *more], key=lambda one: one.exchange)


def _lasting(first: int, units: int) -> list[Plant]:
    """Some bars that the exchange leaves out for good, and some that it gives wrong for good."""
    half = units // 2
    return [
        Plant(first, half - 2, "exchange_empty", lasts=True),
        Plant(first + half, half - 2 if half < 12 else 9, "rejected", lasts=True),
    ]


def _lost() -> list[Plant]:
    return [Plant(0, KRAKEN_LOST, "beyond_exchange_history", lasts=True)]


def _trades_with_gaps(rng: random.Random, histories: Histories) -> Planted:
    """Half an hour of trades, of which some minutes are missing, and two trades came wrong."""
    series = Planted("binance", "ETH/USDT", None, BASE, 30 * 60_000)
    minute = 60_000
    times = histories.trade_times(series)
    wrong = {rng.choice([time for time in times if low * minute <= time < (low + 2) * minute]) for low in (14, 20)}
    series.plants = [
        Plant(5 * minute, minute, "never_asked"),
        Plant(9 * minute, 2 * minute, "failed"),
        *(Plant(time, 1, "rejected") for time in sorted(wrong)),
    ]
    return series


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    limits = dict.fromkeys(CANDLE_PATHS, 10**9)
    with Sandbox(generated_markets(seed=7, extra=12), limits=limits, clock_ms=lambda: to_ms(NOW)) as sandbox:
        yield sandbox


@pytest.fixture
def connection(store_url: str) -> Iterator[Connection]:
    """A store without these exchanges; what was stored of them is renamed away."""
    with connect(store_url) as connection:
        _forget(connection)
        yield connection
        _forget(connection)


def _forget(connection: Connection) -> None:
    names = list(CANDLE_PATHS)
    connection.execute("update instrument set exchange = %s || exchange where exchange = any(%s)", (uuid4().hex, names))


def _read(market: MarketData, series: Planted) -> Rows:
    assert series.timeframe is not None
    frame = market.candles(series.exchange, series.symbol, series.timeframe.name, series.at(0), series.at(series.units))
    times = [(time.to_pydatetime() - series.start) // series.step for time in frame.index]
    return dict(zip(times, frame.itertuples(index=False, name=None), strict=True))


@pytest.mark.campaign
@pytest.mark.timeout(1800)
def test_planted_gaps_are_found_and_repaired(
    sandbox: Sandbox, connection: Connection, store_url: str, open_unlimited: OpenExchange
):
    series = markets_planted(random.Random(5), Histories(sandbox.markets))
    campaign = Campaign(series, sandbox, connection, open_unlimited)
    asyncio.run(campaign.plant())

    found = {id(one): campaign.found(one) for one in series}
    for one in series:
        assert [(gap.start, gap.end, gap.cause) for gap in found[id(one)]] == campaign.expected(one), one

    # Nothing that was asked for in vain is due yet, only what nobody asked for, and what the exchange left out.
    connection.execute("update unavailable set next_try_at = now()")
    outcomes = asyncio.run(campaign.repair())
    left = {id(one): campaign.found(one) for one in series}
    for one in series:
        assert [(gap.start, gap.end, gap.cause) for gap in left[id(one)]] == campaign.expected_left(one), one
    # What was reported is what happened.
    for outcome in outcomes:
        now = [gap for gaps in left.values() for gap in gaps if gap.series == outcome.gap.series]
        assert bool(outcome.left) == any(gap.start < outcome.gap.end and outcome.gap.start < gap.end for gap in now)

    with MarketData.connect(store_url) as market:
        for one in (one for one in series if one.timeframe):
            assert _read(market, one) == campaign.expected_rows(one), one

    asked = len(sandbox.requests)
    asyncio.run(campaign.repair())
    assert len(sandbox.requests) == asked
    if IS_FULL:
        assert len(series) >= 40
        assert sum(map(len, found.values())) >= 200
        assert {gap.cause for gaps in found.values() for gap in gaps} >= {
            "never_asked",
            "exchange_empty",
            "failed",
            "rejected",
            "before_listing",
            "after_delisting",
            "beyond_exchange_history",
        }
