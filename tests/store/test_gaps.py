"""Where series have gaps and why, told from ledgers and rows that are put together by hand."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias

import numpy as np
import pytest

from tapehouse.candle import CandleBatch
from tapehouse.errors import NaiveDatetime, ReversedRange
from tapehouse.query.market import MarketData
from tapehouse.ranges import TimeRange, Unavailable
from tapehouse.store import gaps as gaps_module
from tapehouse.store.batch import record_begin
from tapehouse.store.candles import write_candles
from tapehouse.store.connection import Connection, connect, is_embedded
from tapehouse.store.delete import delete_rows
from tapehouse.store.gaps import find_gaps
from tapehouse.store.instruments import CandleSeries, Series, TradeSeries, list_series
from tapehouse.store.ledger import record_attempts, record_wanted
from tapehouse.store.substitutes import read_substitutes
from tapehouse.store.trades import write_trades
from tapehouse.timeframe import timeframe
from tapehouse.trade import TradeBatch
from tests.store.conftest import SeriesFactory, TradeSeriesFactory, candles

START: Final = datetime(2025, 5, 1, tzinfo=UTC)
MINUTE: Final = timedelta(minutes=1)
Found: TypeAlias = tuple[int, int, str]


def at(minute: float) -> datetime:
    return START + minute * MINUTE


def span(first: float, stop: float) -> TimeRange:
    return at(first), at(stop)


def no_candles() -> CandleBatch:
    return candles(START, [])


def write(
    connection: Connection,
    series: CandleSeries,
    first: int,
    stop: int,
    *,
    without: Collection[int] = (),
    source: str | None = None,
) -> None:
    """Candles of the minutes from `first` on, all covered, those left out too."""
    batch = candles(at(first), [100.0 + minute for minute in range(first, stop)])
    batch = batch.take(np.array([minute not in without for minute in range(first, stop)]))
    window = [span(first, stop)]
    write_candles(connection, series, batch, asked=window, covered=window, substituted_from=source)


def refuse(connection: Connection, series: CandleSeries, first: int, stop: int, cause: str) -> None:
    refused = [Unavailable(*span(first, stop), cause)]
    write_candles(connection, series, no_candles(), asked=[], covered=[], refused=refused)


def found(
    connection: Connection, series: CandleSeries | TradeSeries, first: float | None = None, stop: float | None = None
) -> list[Found]:
    bounds = [None if minute is None else at(minute) for minute in (first, stop)]
    return [
        (round((gap.start - START) / MINUTE), round((gap.end - START) / MINUTE), gap.cause)
        for gap in find_gaps(connection, series, *bounds)
    ]


def delist(connection: Connection, series: Series, last_seen_at: datetime) -> None:
    connection.execute(
        "update instrument set active = false, last_seen_at = %s where instrument_id = %s",
        (last_seen_at, series.instrument.instrument_id),
    )


def test_a_series_that_was_never_asked_for_has_no_gaps(connection: Connection, make_series: SeriesFactory):
    assert find_gaps(connection, make_series()) == []


def test_what_is_complete_has_none(connection: Connection, make_series: SeriesFactory):
    series = make_series()
    write(connection, series, 0, 30)
    assert found(connection, series) == []


def test_each_gap_has_its_cause(connection: Connection, make_series: SeriesFactory):
    series = make_series()
    write(connection, series, 10, 20, without={12, 13, 19})
    write(connection, series, 30, 40)
    refuse(connection, series, 0, 10, "beyond_exchange_history")
    refuse(connection, series, 24, 26, "failed")
    refuse(connection, series, 26, 28, "rejected")
    assert found(connection, series) == [
        (0, 10, "beyond_exchange_history"),
        (12, 14, "exchange_empty"),
        (19, 20, "exchange_empty"),
        (20, 24, "never_asked"),
        (24, 26, "failed"),
        (26, 28, "rejected"),
        (28, 30, "never_asked"),
    ]


def test_bounds_widen_and_narrow_what_is_looked_at(connection: Connection, make_series: SeriesFactory):
    series = make_series()
    write(connection, series, 10, 20, without={15})
    assert found(connection, series) == [(15, 16, "exchange_empty")]
    assert found(connection, series, 5.5, 12) == [(6, 10, "never_asked")]
    assert found(connection, series, 13, 25) == [(15, 16, "exchange_empty"), (20, 25, "never_asked")]
    assert found(connection, series, 16, 18) == []


def test_what_was_wanted_and_not_got_to_is_a_gap(connection: Connection, make_series: SeriesFactory):
    series = make_series()
    record_wanted(connection, series, span(0, 60))
    assert found(connection, series) == [(0, 60, "never_asked")]
    write(connection, series, 20, 40)
    record_wanted(connection, series, span(10, 50))
    assert found(connection, series) == [(0, 20, "never_asked"), (40, 60, "never_asked")]
    assert found(connection, series, 30) == [(40, 60, "never_asked")]
    record_wanted(connection, series, span(-5, 70))
    assert found(connection, series) == [(-5, 20, "never_asked"), (40, 70, "never_asked")]


def test_nothing_is_wanted_of_what_lies_before_a_series_begins(connection: Connection, make_series: SeriesFactory):
    series = make_series()
    record_begin(connection, series, at(20), None)
    record_wanted(connection, series, span(0, 20))
    assert found(connection, series) == []
    record_wanted(connection, series, span(0, 30))
    assert found(connection, series) == [(20, 30, "never_asked")]


@pytest.mark.parametrize(
    ("first", "stop", "left"),
    [
        (0, 20, [(40, 60, "never_asked")]),
        (None, 30, [(40, 60, "never_asked")]),
        (30, None, [(0, 20, "never_asked")]),
        (50, 90, [(0, 20, "never_asked"), (40, 50, "never_asked")]),
        (25, 35, [(0, 20, "never_asked"), (25, 35, "never_asked"), (40, 60, "never_asked")]),
        (None, None, []),
    ],
)
def test_what_is_deleted_at_an_end_is_no_longer_wanted(
    connection: Connection, make_series: SeriesFactory, first: int | None, stop: int | None, left: list[Found]
):
    series = make_series()
    record_wanted(connection, series, span(0, 60))
    write(connection, series, 20, 40)
    delete_rows(connection, series, *(None if minute is None else at(minute) for minute in (first, stop)))
    assert found(connection, series) == left


def test_the_future_is_no_gap(connection: Connection, make_series: SeriesFactory):
    series = make_series("1h")
    now = datetime.now(UTC)
    [gap] = find_gaps(connection, series, now - timedelta(hours=5), now + timedelta(hours=5))
    assert gap.cause == "never_asked"
    assert gap.end <= now < gap.end + timedelta(hours=1, minutes=5)


def test_the_latest_attempt_gives_the_cause(connection: Connection, make_series: SeriesFactory):
    series = make_series()
    refuse(connection, series, 0, 30, "failed")
    refuse(connection, series, 10, 20, "rejected")
    assert found(connection, series) == [(0, 10, "failed"), (10, 20, "rejected"), (20, 30, "failed")]
    refuse(connection, series, 5, 15, "failed")
    assert found(connection, series) == [(0, 15, "failed"), (15, 20, "rejected"), (20, 30, "failed")]


def test_what_was_answered_since_is_no_longer_failed(connection: Connection, make_series: SeriesFactory):
    series = make_series()
    refuse(connection, series, 0, 30, "failed")
    write(connection, series, 10, 20)
    assert found(connection, series) == [(0, 10, "failed"), (20, 30, "failed")]


def test_adjacent_gaps_of_one_cause_are_one_that_waits_for_its_last_part(
    connection: Connection, make_series: SeriesFactory
):
    series = make_series()
    record_attempts(connection, series, [(span(0, 5), 1), (span(5, 10), 4)], cause="failed")
    [gap] = find_gaps(connection, series)
    assert (gap.range, gap.attempts, gap.bars) == (span(0, 10), 4, 10)
    assert gap.next_try_at is not None
    # A quarter of an hour, doubled three times.
    assert timedelta(minutes=119) < gap.next_try_at - datetime.now(UTC) <= timedelta(minutes=121)


def test_attempts_wait_at_most_a_month(connection: Connection, make_series: SeriesFactory):
    series = make_series()
    record_attempts(connection, series, [(span(0, 5), 40)], cause="failed")
    [gap] = find_gaps(connection, series)
    assert gap.next_try_at is not None
    assert timedelta(days=29) < gap.next_try_at - datetime.now(UTC) <= timedelta(days=30, minutes=1)


def test_a_part_was_asked_for_as_often_as_the_whole(connection: Connection, make_series: SeriesFactory):
    series = make_series()
    record_attempts(connection, series, [(span(0, 20), 3)], cause="failed")
    refuse(connection, series, 5, 10, "failed")
    assert {gap.attempts for gap in find_gaps(connection, series, at(5), at(10))} == {4}


def test_an_attempt_takes_the_place_of_those_within_it(connection: Connection, make_series: SeriesFactory):
    series = make_series()
    write(connection, series, 0, 30, without=set(range(10, 20)))
    record_attempts(connection, series, [(span(10, 12), 1), (span(14, 20), 2)], cause="exchange_empty")
    record_attempts(connection, series, [(span(10, 20), 3)], cause="exchange_empty")
    [gap] = find_gaps(connection, series)
    assert (gap.range, gap.cause, gap.attempts) == (span(10, 20), "exchange_empty", 3)
    count = "select count(*) from unavailable where series_id = %s"
    assert connection.execute(count, (series.series_id,)).fetchall() == [(1,)]


def test_what_lies_before_the_first_candle_is_before_the_listing(connection: Connection, make_series: SeriesFactory):
    series = make_series()
    record_begin(connection, series, at(20), span(0, 20))
    write(connection, series, 22, 30)
    assert found(connection, series) == [(0, 20, "before_listing"), (20, 22, "never_asked")]
    assert found(connection, series, -10, 21) == [(-10, 20, "before_listing"), (20, 21, "never_asked")]


def test_what_lies_behind_a_delisted_market_is_after_the_delisting(connection: Connection, make_series: SeriesFactory):
    series = make_series()
    write(connection, series, 0, 30, without={5, *range(20, 30)})
    assert found(connection, series) == [(5, 6, "exchange_empty"), (20, 30, "exchange_empty")]
    delist(connection, series, at(29.5))
    assert found(connection, series) == [(5, 6, "exchange_empty"), (20, 30, "after_delisting")]
    assert found(connection, series, 18, 60) == [(20, 60, "after_delisting")]


def test_a_market_may_have_gone_on_behind_what_was_fetched(connection: Connection, make_series: SeriesFactory):
    series = make_series()
    write(connection, series, 0, 30, without=set(range(20, 30)))
    delist(connection, series, at(40.5))
    assert found(connection, series) == [(20, 30, "exchange_empty")]
    assert found(connection, series, 18, 60) == [
        (20, 30, "exchange_empty"),
        (30, 41, "never_asked"),
        (41, 60, "after_delisting"),
    ]
    # Behind a break it may have gone on as well.
    write(connection, series, 35, 50, without=set(range(35, 50)))
    assert found(connection, series) == [
        (20, 30, "exchange_empty"),
        (30, 35, "never_asked"),
        (35, 41, "exchange_empty"),
        (41, 50, "after_delisting"),
    ]
    write(connection, series, 30, 35, without=set(range(30, 35)))
    assert found(connection, series) == [(20, 50, "after_delisting")]


def test_what_retention_has_dropped_is_no_gap(connection: Connection, make_series: SeriesFactory):
    series = make_series("30m")
    rows = candles(START, [100.0] * 4, step_s=1800)
    write_candles(connection, series, rows, asked=[span(0, 120)], covered=[span(0, 120)])
    refuse(connection, series, 150, 180, "failed")
    assert found(connection, series) == [(120, 150, "never_asked"), (150, 180, "failed")]
    keep = "insert into retention (dataset, timeframe_s, dropped_before) values ('ohlcv', 1800, %s)"
    connection.execute(keep, (at(150),))
    try:
        assert found(connection, series) == [(150, 180, "failed")]
    finally:
        connection.execute("delete from retention where timeframe_s = 1800")


def test_months_differ_in_length(connection: Connection, make_series: SeriesFactory):
    series = make_series("1M")
    months = [datetime(2025, month, 1, tzinfo=UTC) for month in range(1, 8)]
    batch = CandleBatch(
        np.array([int(months[place].timestamp()) * 1_000_000 for place in (0, 1, 4)]),
        *(np.full(3, 5.0) for _ in range(5)),
    )
    window = [(months[0], months[6])]
    write_candles(connection, series, batch, asked=window, covered=window)
    gaps = find_gaps(connection, series)
    assert [(gap.start, gap.end, gap.bars) for gap in gaps] == [(months[2], months[4], 2), (months[5], months[6], 1)]


def trades(*minutes: float) -> TradeBatch:
    count = len(minutes)
    times = np.array([int(at(minute).timestamp() * 1000) * 1000 for minute in minutes])
    ones = np.ones(count)
    return TradeBatch(
        times, np.arange(1, count + 1), np.full(count, "", dtype=np.str_), ones, ones, ones.astype(np.int16)
    )


def test_time_without_trades_is_no_gap(connection: Connection, make_trade_series: TradeSeriesFactory):
    series = make_trade_series()
    write_trades(connection, series, trades(1, 2), asked=[span(0, 10)], covered=[span(0, 10)])
    refused = [Unavailable(*span(12, 14), "more_than_a_page")]
    write_trades(connection, series, trades(), asked=[], covered=[], refused=refused)
    gaps = find_gaps(connection, series)
    assert [(gap.range, gap.cause, gap.bars) for gap in gaps] == [
        (span(10, 12), "never_asked", None),
        (span(12, 14), "more_than_a_page", None),
    ]


def test_trades_end_with_their_market(connection: Connection, make_trade_series: TradeSeriesFactory):
    series = make_trade_series()
    write_trades(connection, series, trades(1, 2), asked=[span(0, 10)], covered=[span(0, 10)])
    delist(connection, series, at(10))
    [gap] = find_gaps(connection, series)
    assert gap.range == (at(2) + timedelta(milliseconds=1), at(10))
    assert gap.cause == "after_delisting"


def test_trades_may_have_gone_on_behind_what_was_fetched(connection: Connection, make_trade_series: TradeSeriesFactory):
    series = make_trade_series()
    write_trades(connection, series, trades(0, 0.5), asked=[span(0, 60)], covered=[span(0, 60)])
    delist(connection, series, at(60 * 24))
    assert find_gaps(connection, series) == []
    write_trades(connection, series, trades(), asked=[span(24 * 60 - 10, 24 * 60 + 10)], covered=[span(1430, 1450)])
    assert found(connection, series) == [(60, 1430, "never_asked"), (1440, 1450, "after_delisting")]


@pytest.mark.parametrize(
    ("bounds", "error"),
    [((at(5), at(0)), ReversedRange), ((datetime(2025, 5, 1), None), NaiveDatetime)],  # noqa: DTZ001 -- what is refused
)
def test_bounds_that_make_no_sense_are_refused(
    connection: Connection, make_series: SeriesFactory, bounds: tuple[datetime, datetime | None], error: type[Exception]
):
    with pytest.raises(error):
        find_gaps(connection, make_series(), *bounds)


def test_a_deletion_meanwhile_makes_no_gap(
    connection: Connection, make_series: SeriesFactory, store_url: str, monkeypatch: pytest.MonkeyPatch
):
    if is_embedded(connection):
        pytest.skip("the embedded database lets nobody write while a transaction is open")
    series = make_series()
    write(connection, series, 0, 30, without={3})
    read_empty = gaps_module._empty  # pyright: ignore[reportPrivateUsage] -- where a deletion would show

    def after_a_deletion(*known: Any) -> list[TimeRange]:
        with connect(store_url) as other:
            delete_rows(other, series, at(10), at(20))
        return read_empty(*known)

    monkeypatch.setattr(gaps_module, "_empty", after_a_deletion)
    assert found(connection, series) == [(3, 4, "exchange_empty")]


def test_series_are_listed_by_what_is_asked(connection: Connection, make_series: SeriesFactory):
    series = make_series("5m")
    name = series.instrument.exchange
    assert list_series(connection, exchange=name, timeframe=timeframe("5m")) == [series]
    assert list_series(connection, exchange=name, dataset="trade") == []


def test_substitutes_never_replace_what_the_exchange_gave(connection: Connection, make_series: SeriesFactory):
    series = make_series()
    write(connection, series, 0, 5)
    other = candles(at(3), [1.0, 2.0, 3.0, 4.0])
    write_candles(
        connection, series, other, asked=[span(3, 7)], covered=[span(3, 7)], substituted_from="kraken BTC/USD"
    )
    rows = connection.execute(
        "select close from ohlcv where instrument_id = %s order by time", (series.instrument.instrument_id,)
    ).fetchall()
    # In cents: those of the exchange, then those of the other one.
    assert [close for (close,) in rows] == [10000, 10100, 10200, 10300, 10400, 300, 400]
    [substitute] = read_substitutes(connection, series, span(0, 10))
    assert (substitute.start, substitute.end, substitute.source) == (at(5), at(7), "kraken BTC/USD")


def test_substitutes_written_side_by_side_are_one(connection: Connection, make_series: SeriesFactory):
    series = make_series()
    write(connection, series, 0, 5, source="trades")
    write(connection, series, 10, 15, source="trades")
    write(connection, series, 5, 10, source="trades")
    write(connection, series, 15, 20, source="1m")
    known = [(one.start, one.end, one.source) for one in read_substitutes(connection, series, span(0, 60))]
    assert known == [(*span(0, 15), "trades"), (*span(15, 20), "1m")]


def test_the_exchanges_own_rows_end_a_substitute(connection: Connection, make_series: SeriesFactory, store_url: str):
    series = make_series()
    write(connection, series, 0, 10, source="trades")
    # It answers for eight minutes and has no candle in one of them.
    write(connection, series, 2, 10, without={4})
    known = [(one.start, one.end) for one in read_substitutes(connection, series, span(0, 60))]
    assert known == [span(0, 2), span(4, 5)]
    with MarketData.connect(store_url) as market:
        frame = market.candles(series.instrument.exchange, "BTC/USDT", "1m", at(1), at(10))
    assert frame.attrs["repaired"] == [
        [at(1).isoformat(), at(2).isoformat(), "trades"],
        [at(4).isoformat(), at(5).isoformat(), "trades"],
    ]


def test_gaps_as_a_table(connection: Connection, make_series: SeriesFactory, store_url: str):
    series = make_series()
    write(connection, series, 0, 10, without={4})
    refuse(connection, series, 10, 12, "failed")
    with MarketData.connect(store_url) as market:
        frame = market.gaps(series.instrument.exchange, timeframe="1m", end=at(11))
        nothing = market.gaps(series.instrument.exchange, dataset="trade")
    assert frame[["symbol", "dataset", "timeframe", "cause", "bars", "attempts"]].to_numpy().tolist() == [
        ["BTC/USDT", "ohlcv", "1m", "exchange_empty", 1, 0],
        ["BTC/USDT", "ohlcv", "1m", "failed", 1, 1],
    ]
    assert frame["start"].tolist() == [at(4), at(10)]
    assert frame["next_try_at"].isna().tolist() == [True, False]
    assert dict(nothing.dtypes) == dict(frame.dtypes)
