"""Gaps of all causes are planted in series of several exchanges: all are found, none is invented, some are repaired.

What to expect is worked out bar by bar, from what was planted and from the sandbox's own histories. A few series in
every test run; forty with `make campaign`.
"""

import asyncio
import os
import random
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import groupby
from typing import Final, TypeAlias
from uuid import uuid4

import pytest

from tapehouse.errors import ExchangeError
from tapehouse.exchange import Exchange
from tapehouse.ingest import (
    FallbackName,
    Repaired,
    ingest_plan,
    ingest_series,
    open_series,
    plan_backfill,
    repair_exchange,
)
from tapehouse.query.market import MarketData
from tapehouse.sandbox import Sandbox, generated_markets
from tapehouse.store.connection import Connection, connect
from tapehouse.store.gaps import AskedSeries, Gap, find_gaps
from tapehouse.timeframe import to_ms
from tests.ingest.conftest import OpenExchange
from tests.ingest.planted import CANDLE_PATHS, LEAVES_OUT_EMPTY, NOW, ONE_MINUTE, Histories, Planted, Rows
from tests.ingest.planted_markets import markets_planted

IS_FULL: Final = os.environ.get("TAPEHOUSE_CAMPAIGN") == "full"
MINUTE: Final = timedelta(minutes=1)
FALLBACKS: Final = {"okx": "bybit", "kraken": "coinbaseexchange"}

Expected: TypeAlias = tuple[datetime, datetime, str]


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
        self._delist(series, stored)

    def _delist(self, series: Planted, stored: AskedSeries) -> None:
        """The exchange took a market that is no longer traded off its list when it ended."""
        self._connection.execute(
            "update instrument set last_seen_at = %s where instrument_id = %s and not active",
            (self._histories.end(series), stored.instrument.instrument_id),
        )

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
            # That an exchange that leaves bars out has left out too many, it is not asked about.
            is_left_out = plant.cause == "exchange_empty" and series.exchange in LEAVES_OUT_EMPTY
            for unit in range(plant.first, plant.stop):
                if not plant.lasts and not is_left_out:
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
    series = markets_planted(random.Random(5), Histories(sandbox.markets), is_full=IS_FULL)
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
