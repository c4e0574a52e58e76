"""Repair, step by step: what is asked for, what is built from other data, what waits, and what is refused."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

import pytest

from tapehouse.errors import ExchangeError, InputError, MixedOrigins, UnknownSymbol
from tapehouse.ingest import (
    CandleRequest,
    FallbackName,
    Repaired,
    SeriesRequest,
    TradeRequest,
    due_by_exchange,
    ingest_series,
    open_series,
    repair_exchange,
    treatment_of,
)
from tapehouse.sandbox import Asked, Fault, Sandbox, generated_markets
from tapehouse.store.connection import Connection, connect
from tapehouse.store.gaps import AskedSeries, Gap, find_gaps
from tapehouse.store.instruments import CandleSeries, list_series
from tapehouse.store.ledger import record_attempts
from tapehouse.store.substitutes import read_substitutes
from tapehouse.timeframe import timeframe, to_ms
from tests.ingest.conftest import OpenExchange

MINUTE: Final = timedelta(minutes=1)
# A day of generated history; far from now, so that nothing is recent.
DAY: Final = datetime(2026, 2, 1, tzinfo=UTC)
EXCHANGES: Final = ("binance", "binanceusdm", "okx", "bybit", "coinbaseexchange", "kraken")
ASKS: Final = ("klines", "candles", "kline", "OHLC", "aggTrades", "trades")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(generated_markets(seed=7), limits=dict.fromkeys(EXCHANGES, 10**9)) as sandbox:
        yield sandbox


@pytest.fixture
def connection(store_url: str, sandbox: Sandbox) -> Iterator[Connection]:
    """A store without these exchanges; what was stored of them is renamed away."""
    with connect(store_url) as connection:
        yield connection
        sandbox.faults.clear()
        rename = "update instrument set exchange = %s || exchange where exchange = any(%s)"
        connection.execute(rename, (uuid4().hex, list(EXCHANGES)))


def at(minute: float) -> datetime:
    return DAY + minute * MINUTE


def minutes(first: int, stop: int, symbol: str = "BTC/USDT", length: str = "1m") -> CandleRequest:
    return CandleRequest(symbol, timeframe(length), at(first), at(stop))


class Store:
    """What a test does to one store: fetch, break, repair."""

    def __init__(self, sandbox: Sandbox, connection: Connection, open_exchange: OpenExchange) -> None:
        self.sandbox = sandbox
        self.connection = connection
        self._open_exchange = open_exchange

    def fetch(self, exchange_id: str, *requests: SeriesRequest) -> AskedSeries:
        """Fetch several ranges of one series."""

        async def run() -> AskedSeries:
            async with self._open_exchange(exchange_id, self.sandbox.url) as exchange:
                series = await open_series(exchange, self.connection, requests[0])
                for request in requests:
                    await ingest_series(exchange, self.connection, series, request.start, request.end)
                return series

        return asyncio.run(run())

    def fail(self, exchange_id: str, request: SeriesRequest) -> None:
        """Ask for what the exchange does not give, for good."""
        self.sandbox.faults.add(Fault("status", status=451, symbol=request.symbol))
        with suppress(ExchangeError):
            self.fetch(exchange_id, request)
        self.sandbox.faults.clear()

    def gaps(self, series: AskedSeries) -> list[Gap]:
        return find_gaps(self.connection, series)

    def causes(self, series: AskedSeries) -> list[tuple[int, int, str]]:
        return [(_minute(gap.start), _minute(gap.end), gap.cause) for gap in self.gaps(series)]

    def repair(self, *series: AskedSeries, causes: Sequence[str] = (), fallbacks: Sequence[str] = ()) -> list[Repaired]:
        repair = asyncio.run(
            repair_exchange(
                series[0].instrument.exchange,
                self.connection,
                [gap for one in series for gap in self.gaps(one)],
                causes=causes,
                fallbacks=[FallbackName.parse(text) for text in fallbacks],
                open_exchange=lambda exchange_id: self._open_exchange(exchange_id, self.sandbox.url),
            )
        )
        if repair.error:
            raise repair.error
        return list(repair.repaired)

    def come_due(self) -> None:
        self.connection.execute("update unavailable set next_try_at = now()")

    def asked(self, *, since: int) -> list[Asked]:
        """The requests for candles and trades from that one on."""
        return [one for one in self.sandbox.requests[since:] if any(what in one.path for what in ASKS)]


@pytest.fixture
def store(sandbox: Sandbox, connection: Connection, open_unlimited: OpenExchange) -> Store:
    return Store(sandbox, connection, open_unlimited)


def _minute(time: datetime) -> int:
    return round((time - DAY) / MINUTE)


def spoilt(kind: Any, first: int, stop: int, symbol: str = "BTC/USDT") -> Fault:
    """What happens to the candles of those minutes, and not to trades."""
    return Fault(kind, path="kline", symbol=symbol, start_ms=to_ms(at(first)), end_ms=to_ms(at(stop)))


def test_neighbouring_gaps_cost_one_request(store: Store):
    series = store.fetch("binance", minutes(0, 10), minutes(20, 30), minutes(50, 60), minutes(2000, 2010))
    asked = len(store.sandbox.requests)
    repaired = store.repair(series)
    assert store.gaps(series) == []
    assert [(one.outcome, one.sources) for one in repaired] == [("repaired", ("exchange",))] * 3
    starts = [int(one.query["startTime"]) for one in store.asked(since=asked)]
    # The third gap is longer than a page.
    assert starts == [to_ms(time) for time in (at(10), at(60), at(1060))]


def test_a_gap_that_waits_is_not_asked_for_along_with_others(store: Store):
    series = store.fetch("binance", minutes(0, 10), minutes(20, 30), minutes(60, 70))
    store.fail("binance", minutes(35, 40))
    asked = len(store.sandbox.requests)
    store.repair(series)
    assert store.causes(series) == [(35, 40, "failed")]
    windows = [(int(one.query["startTime"]), int(one.query["endTime"]) + 1) for one in store.asked(since=asked)]
    assert windows == [(to_ms(at(10)), to_ms(at(35))), (to_ms(at(40)), to_ms(at(60)))]


def test_a_gap_that_waits_is_left_alone_where_only_others_are_meant(store: Store):
    series = store.fetch("binance", minutes(0, 10), minutes(60, 70))
    store.fail("binance", minutes(35, 40))
    asked = len(store.sandbox.requests)
    store.repair(series, causes=["never_asked"])
    assert store.causes(series) == [(35, 40, "failed")]
    windows = [(int(one.query["startTime"]), int(one.query["endTime"]) + 1) for one in store.asked(since=asked)]
    assert windows == [(to_ms(at(10)), to_ms(at(35))), (to_ms(at(40)), to_ms(at(60)))]


def test_a_bad_row_among_few_fails_no_repair(store: Store):
    # The third of these gaps is on a page of its own.
    series = store.fetch("binance", minutes(0, 10), minutes(15, 20), minutes(30, 40), minutes(2000, 2010))
    store.sandbox.faults.add(spoilt("negative_price", 12, 13))
    store.sandbox.faults.add(spoilt("negative_price", 40, 1040))
    repaired = store.repair(series)
    assert [(one.outcome, one.sources, one.error) for one in repaired] == [
        ("partly", ("exchange",), None),
        ("repaired", ("exchange",), None),
        ("partly", ("exchange",), None),
    ]
    assert store.causes(series) == [(12, 13, "rejected"), (40, 1040, "rejected")]


def test_what_is_asked_for_in_vain_waits_longer_each_time(store: Store):
    store.sandbox.faults.add(spoilt("missing_rows", 5, 7))
    store.sandbox.faults.add(spoilt("negative_price", 12, 13))
    series = store.fetch("binance", minutes(0, 30))
    waits: list[list[tuple[str, int, int]]] = []
    for _ in range(3):
        store.come_due()
        store.repair(series)
        now = datetime.now(UTC)
        gaps = store.gaps(series)
        waits.append(
            [(gap.cause, gap.attempts, round((gap.next_try_at - now) / MINUTE)) for gap in gaps if gap.next_try_at]
        )
    day = 24 * 60
    assert waits == [
        [("exchange_empty", 1, day), ("rejected", 2, 30)],
        [("exchange_empty", 2, 2 * day), ("rejected", 3, 60)],
        [("exchange_empty", 3, 4 * day), ("rejected", 4, 120)],
    ]


def test_what_is_not_due_costs_no_request_at_all(store: Store):
    store.sandbox.faults.add(spoilt("missing_rows", 5, 7))
    series = store.fetch("binance", minutes(0, 30))
    store.repair(series)
    asked = len(store.sandbox.requests)
    assert due_by_exchange(store.gaps(series)) == {}
    assert store.repair(series) == []
    assert len(store.sandbox.requests) == asked


def test_a_bar_left_out_by_mistake_is_had_the_second_time(store: Store):
    store.sandbox.faults.add(spoilt("missing_rows", 5, 7))
    series = store.fetch("binance", minutes(0, 30))
    assert store.causes(series) == [(5, 7, "exchange_empty")]
    store.sandbox.faults.clear()
    [repaired] = store.repair(series)
    assert (repaired.outcome, repaired.sources, store.gaps(series)) == ("repaired", ("exchange",), [])
    # It is ordinary data.
    assert read_substitutes(store.connection, series, (at(0), at(30))) == []


def test_minutes_are_built_from_trades_only_where_these_are_complete(store: Store):
    store.sandbox.faults.add(spoilt("missing_rows", 5, 15))
    series = store.fetch("binance", minutes(0, 30))
    # The trades of minute 5 begin too late, those of minute 12 end too early.
    store.fetch("binance", TradeRequest("BTC/USDT", at(5.5), at(12.5)))
    [repaired] = store.repair(series)
    assert (repaired.outcome, repaired.sources) == ("partly", ("trades",))
    assert store.causes(series) == [(5, 6, "exchange_empty"), (12, 15, "exchange_empty")]
    [substitute] = read_substitutes(store.connection, series, (at(0), at(30)))
    assert (substitute.start, substitute.end, substitute.source) == (at(6), at(12), "trades")


def test_a_minute_without_any_trade_stays_empty(store: Store):
    symbol = "QUILL/USDT"
    store.sandbox.faults.add(spoilt("missing_rows", 0, 60, symbol))
    series = store.fetch("binance", minutes(0, 60, symbol))
    store.fetch("binance", TradeRequest(symbol, at(0), at(60)))
    store.repair(series)
    traded = store.connection.execute(
        "select distinct date_trunc('minute', time) from trade where instrument_id = %s order by 1",
        (series.instrument.instrument_id,),
    ).fetchall()
    rows = store.connection.execute(
        "select time from ohlcv where instrument_id = %s order by 1", (series.instrument.instrument_id,)
    ).fetchall()
    assert 0 < len(traded) < 60
    assert rows == traded


def test_longer_candles_are_built_from_complete_minutes(store: Store):
    store.sandbox.faults.add(spoilt("missing_rows", 0, 60))
    hours = store.fetch("binance", minutes(0, 60, length="15m"))
    store.sandbox.faults.clear()
    store.fetch("binance", minutes(0, 40))
    # What the exchange leaves out still; minutes were fetched while it did not.
    store.sandbox.faults.add(spoilt("missing_rows", 0, 60))
    store.repair(hours)
    assert store.causes(hours) == [(30, 60, "exchange_empty")]
    [substitute] = read_substitutes(store.connection, hours, (at(0), at(60)))
    assert (substitute.start, substitute.end, substitute.source) == (at(0), at(30), "1m")


def test_candles_over_minutes_of_another_exchange_are_not_built(store: Store):
    store.sandbox.faults.add(Fault("missing_rows", host="www.okx.com", start_ms=to_ms(at(0)), end_ms=to_ms(at(60))))
    one_minute, quarters = (store.fetch("okx", minutes(0, 60, length=length)) for length in ("1m", "15m"))
    store.repair(one_minute, fallbacks=["bybit"])
    assert store.gaps(one_minute) == []
    store.repair(quarters)
    assert store.causes(quarters) == [(0, 60, "exchange_empty")]


def test_another_exchange_fills_what_the_first_does_not_give(store: Store):
    store.fail("okx", minutes(10, 20))
    series = store.fetch("okx", minutes(0, 10), minutes(20, 30))
    store.come_due()
    store.sandbox.faults.add(Fault("status", status=451, host="www.okx.com", path="candles"))
    [repaired] = store.repair(series, fallbacks=["kraken", "bybit"])
    # Kraken lists no such symbol.
    assert (repaired.outcome, repaired.sources) == ("repaired", ("bybit BTC/USDT",))
    assert isinstance(repaired.error, ExchangeError)
    assert store.gaps(series) == []
    theirs = store.fetch("bybit", minutes(10, 20))
    values = "select open, high, low, close from candle where exchange = %s and time >= %s and time < %s order by time"
    ours = store.connection.execute(values, ("okx", at(10), at(20))).fetchall()
    assert len(ours) == 10
    assert ours == store.connection.execute(values, (theirs.instrument.exchange, at(10), at(20))).fetchall()


@pytest.mark.parametrize(
    ("exchange_id", "fallback", "error", "says"),
    [
        ("okx", "bybit:ETH/USDT", InputError, "base is BTC and not ETH"),
        ("okx", "coinbaseexchange:BTC/USD", InputError, "quote is USDT and not USD"),
        ("okx", "bybit:BTC/UDST", UnknownSymbol, "did you mean"),
    ],
)
def test_a_market_that_can_not_stand_for_the_other_is_refused(
    store: Store, exchange_id: str, fallback: str, error: type[Exception], says: str
):
    store.sandbox.faults.add(Fault("missing_rows", start_ms=to_ms(at(5)), end_ms=to_ms(at(7))))
    series = store.fetch(exchange_id, minutes(0, 10))
    [repaired] = store.repair(series, fallbacks=[fallback])
    assert (repaired.outcome, type(repaired.error)) == ("open", error)
    assert says in str(repaired.error)
    assert len(store.gaps(series)) == 1


def test_minutes_that_are_left_out_for_want_of_trades_are_asked_for_only_if_named(store: Store):
    series = store.fetch("coinbaseexchange", minutes(0, 120, "QUILL/USD"))
    empty = store.causes(series)
    assert len(empty) > 3
    asked = len(store.sandbox.requests)
    assert due_by_exchange(store.gaps(series)) == {}
    assert store.repair(series, fallbacks=["coinbase"]) == []
    assert store.asked(since=asked) == []
    assert {one.outcome for one in store.repair(series, causes=["exchange_empty"], fallbacks=["coinbase"])} == {"open"}
    assert store.causes(series) == empty
    assert {gap.attempts for gap in store.gaps(series)} == {1}
    # As long as nothing else is open in between, the ledger has one row of them.
    count = "select count(*) from unavailable where series_id = %s"
    assert store.connection.execute(count, (series.series_id,)).fetchall() == [(1,)]


def test_empty_bars_on_both_sides_of_a_gap_leave_it_to_be_asked_for(store: Store):
    store.sandbox.faults.add(spoilt("missing_rows", 5, 7))
    store.sandbox.faults.add(spoilt("missing_rows", 25, 27))
    series = store.fetch("binance", minutes(0, 10), minutes(20, 30))
    store.sandbox.faults.add(spoilt("negative_price", 12, 13))
    store.repair(series)
    noted = store.connection.execute(
        "select lower(during), upper(during) from unavailable where series_id = %s and cause = 'exchange_empty'"
        " order by 1",
        (series.series_id,),
    ).fetchall()
    assert noted == [(at(5), at(7)), (at(25), at(27))]


def test_what_another_exchange_gave_wrong_is_marked_so_in_quarantine(store: Store):
    store.sandbox.faults.add(Fault("missing_rows", host="www.okx.com", start_ms=to_ms(at(5)), end_ms=to_ms(at(7))))
    series = store.fetch("okx", minutes(0, 10))
    store.sandbox.faults.add(Fault("negative_price", host="api.bybit.com", start_ms=to_ms(at(5)), end_ms=to_ms(at(6))))
    store.repair(series, fallbacks=["bybit"])
    assert store.causes(series) == [(5, 6, "exchange_empty")]
    [[reasons]] = store.connection.execute(
        "select reasons from quarantine where series_id = %s", (series.series_id,)
    ).fetchall()
    assert "not_of_its_exchange" in reasons


def test_another_exchange_fills_also_what_a_lost_one_is_not_asked_for(store: Store):
    places = range(0, 10_000, 2000)
    series = store.fetch("okx", *(minutes(place, place + 5) for place in places))
    ends = [(place + 5, place + 2000) for place in places[:-1]]
    store.sandbox.faults.add(Fault("status", status=451, host="www.okx.com", path="candles"))
    repaired = store.repair(series, fallbacks=["bybit"])
    assert [(_minute(one.gap.start), _minute(one.gap.end)) for one in repaired] == ends
    assert {one.sources for one in repaired} == {("bybit BTC/USDT",)}
    assert store.gaps(series) == []


def test_history_that_no_exchange_has_is_tried_once_a_run(store: Store):
    series = store.fetch("okx", minutes(0, 10))
    record_attempts(store.connection, series, [((at(20), at(30)), 1)], cause="beyond_exchange_history")
    store.sandbox.faults.add(Fault("missing_rows"))
    store.repair(series, causes=["beyond_exchange_history"], fallbacks=["bybit", "binance"])
    [_, beyond] = store.gaps(series)
    assert (beyond.cause, beyond.attempts) == ("beyond_exchange_history", 2)


def test_an_exchange_that_keeps_failing_is_left_alone(store: Store):
    symbols = ("BTC/USDT", "ETH/USDT", "SOL/USDT", "ETH/BTC", "QUILL/USDT")
    pairs = [
        (minutes(0, 5, symbol), minutes(2000, 2005, symbol), minutes(4000, 4005, symbol), minutes(6000, 6005, symbol))
        for symbol in symbols
    ]
    series = [store.fetch("binance", *requests) for requests in pairs]
    store.sandbox.faults.add(Fault("status", status=451, path="klines"))
    asked = len(store.sandbox.requests)
    repaired = store.repair(*series)
    # Of each gap two pages, three gaps of each of three series.
    assert len(repaired) == 9
    assert len(store.asked(since=asked)) == 18
    assert {one.outcome for one in repaired} == {"open"}
    assert [gap.cause for gap in store.gaps(series[0])] == ["failed"] * 3
    assert [gap.cause for gap in store.gaps(series[4])] == ["never_asked"] * 3


def test_the_sandbox_does_not_repair_what_came_from_a_real_exchange(store: Store):
    series = store.fetch("binance", minutes(0, 10), minutes(20, 30))
    store.connection.execute("update instrument set from_sandbox = false where exchange = 'binance'")
    with pytest.raises(MixedOrigins):
        store.repair(series)
    assert store.causes(series) == [(10, 20, "never_asked")]


def test_trades_are_asked_for_again(store: Store):
    first, last = TradeRequest("BTC/USDT", at(0), at(2)), TradeRequest("BTC/USDT", at(4), at(6))
    trades = store.fetch("binance", first, last)
    [repaired] = store.repair(trades)
    assert (repaired.outcome, repaired.sources) == ("repaired", ("exchange",))
    times = "select min(time) >= %s, max(time) < %s, count(*) > 0 from trade where instrument_id = %s"
    held = store.connection.execute(
        times + " and time >= %s and time < %s", (at(2), at(4), trades.instrument.instrument_id, at(2), at(4))
    )
    assert held.fetchall() == [(True, True, True)]


@pytest.mark.parametrize("text", ["", ":BTC/USDT", "kraken:"])
def test_a_fallback_has_a_name(text: str):
    with pytest.raises(InputError, match="names no fallback"):
        FallbackName.parse(text)


def test_fallbacks_may_name_their_symbol():
    assert FallbackName.parse("okx:BTC/USDT:USDT") == FallbackName("okx", "BTC/USDT:USDT")
    assert FallbackName.parse("okx") == FallbackName("okx")


def test_what_a_history_no_longer_has_is_looked_for_elsewhere_at_once(store: Store):
    series = store.fetch("binance", minutes(0, 10))
    assert isinstance(series, CandleSeries)
    record_attempts(store.connection, series, [((at(20), at(30)), 1)], cause="beyond_exchange_history")
    [never, beyond] = store.gaps(series)
    now = datetime.now(UTC)
    assert [treatment_of(gap, now=now) for gap in (never, beyond)] == ["ask", "look_elsewhere"]
    assert list_series(store.connection, exchange="binance") == [series]
