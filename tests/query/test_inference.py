"""What get_inference_data gives, worked out a second time by pandas."""

import copy
import multiprocessing
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from operator import attrgetter
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tapehouse import MarketData
from tapehouse.errors import InputError, NaiveDatetime, UnknownSeries, UnknownSymbol
from tapehouse.query.inference import InferenceDataFrame
from tapehouse.store.features import refresh_features
from tapehouse.store.rollups import refresh_rollups
from tapehouse.timeframe import timeframe
from tests.query.conftest import (
    Snapshot,
    Tape,
    in_units,
    pandas_resample,
    pandas_trade_bars,
    random_bars,
    random_books,
    random_trades,
    times,
)
from tests.query.moments import assert_same, closed_by, write_bars

RULES = {"5m": "5min", "15m": "15min", "1h": "1h", "4h": "4h", "1d": "1D"}
# A moment some days ago, so that retention has nothing to do with it and rollups of its days can be refreshed.
NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
AT = NOW - timedelta(days=3, minutes=23, seconds=17)


@pytest.fixture
def ask(market: MarketData, tape: Tape) -> Callable[..., InferenceDataFrame]:
    def ask(at: datetime | None = AT, **options: Any) -> InferenceDataFrame:
        return market.get_inference_data(tape.symbol, exchange=tape.exchange, timestamp=at, **options)

    return ask


@pytest.mark.parametrize("is_refreshed", [True, False])
def test_each_timeframe_holds_the_last_bars_that_had_closed(
    ask: Callable[..., InferenceDataFrame], tape: Tape, is_refreshed: bool
):
    start = AT - timedelta(days=70)
    bars = random_bars(start.replace(hour=0, minute=0, second=0), 71 * 1440)
    write_bars(tape, bars)
    if is_refreshed:
        refresh_rollups(tape.connection)
    data = ask()
    closed = closed_by(bars, timedelta(minutes=1), AT)
    pd.testing.assert_frame_equal(data.ohlcv_1m, in_units(closed.iloc[-60:]), check_freq=False)
    for name, rule in RULES.items():
        length = timeframe(name).length
        expected = pandas_resample(bars, rule)
        expected = in_units(closed_by(expected, length, AT).iloc[-60:])
        pd.testing.assert_frame_equal(data.ohlcv(name), expected, check_freq=False)
        assert data.ohlcv(name).attrs["source"] == ("rollup" if is_refreshed else "resampled")
        assert data.to_numpy()[f"ohlcv_{name}"].shape == (60, 5)
    assert data.ohlcv_1s.empty
    assert data.get_latest_price() == in_units(closed)["close"].iloc[-1]
    candle = data.latest_candle()
    assert candle is not None
    assert (candle.time, candle.close) == (closed.index[-1].to_pydatetime(), in_units(closed)["close"].iloc[-1])


def test_ticks_are_those_of_the_context(ask: Callable[..., InferenceDataFrame], tape: Tape):
    start, end = AT - timedelta(minutes=30), AT + timedelta(minutes=5)
    trades = random_trades(start, 4000, span=end - start)
    books = random_books([start + timedelta(seconds=5 * number) for number in range(400)])
    tape.write_trades(trades, (start, end))
    tape.write_books(books, (start, end))
    refresh_features(tape.connection)
    data = ask(context_window_minutes=10)
    expected = trades[(trades.index >= AT - timedelta(minutes=10)) & (trades.index < AT)]
    pd.testing.assert_frame_equal(data.trades, expected, check_freq=False)
    last = [one for one in books if one.time <= AT][-1]
    book = data.order_book
    assert book is not None
    assert (book.time, book.nonce) == (last.time, last.nonce)
    sides = np.concatenate([np.array(last.bids), np.array(last.asks)], axis=1)
    np.testing.assert_array_equal(book.to_numpy(), sides)
    assert list(book.levels.columns) == ["bid_price", "bid_amount", "ask_price", "ask_amount"]
    seconds = pandas_trade_bars(trades, "1s")
    closed = seconds[(seconds.index >= pd.Timestamp(timeframe("1s").floor(AT) - timedelta(minutes=10)))]
    closed = closed_by(closed, timedelta(seconds=1), AT)
    pd.testing.assert_frame_equal(data.ohlcv_1s, closed[data.ohlcv_1s.columns], check_freq=False)
    trade = data.latest_trade
    assert trade is not None
    assert (trade.time, trade.price) == (expected.index[-1].to_pydatetime(), expected["price"].iloc[-1])
    assert data.get_latest_price() == trade.price
    first, last_second = data.imbalances.index[0], data.imbalances.index[-1]
    assert first >= pd.Timestamp(AT - timedelta(minutes=10))
    assert last_second + timedelta(seconds=1) <= pd.Timestamp(AT)
    assert "not" not in data.explain().partition("trades:")[2].splitlines()[0]


def test_imbalances_are_those_of_the_market(ask: Callable[..., InferenceDataFrame], market: MarketData, tape: Tape):
    start, end = AT - timedelta(minutes=10), AT + timedelta(minutes=1)
    tape.write_trades(random_trades(start, 900, span=end - start), (start + timedelta(minutes=6), end))
    tape.write_books(random_books([start + timedelta(seconds=7 * number) for number in range(90)]), (start, end))
    refresh_features(tape.connection)
    expected = market.imbalances(tape.exchange, tape.symbol, AT - timedelta(minutes=5), AT)
    found = ask().imbalances
    pd.testing.assert_frame_equal(found, expected)
    assert found["trade_imbalance_60s"].isna().any()
    for name in ("stale", "order_book", "trade"):
        assert found.attrs[name] == expected.attrs[name]


def test_indicators_do_not_depend_on_the_context(ask: Callable[..., InferenceDataFrame], tape: Tape):
    write_bars(tape, random_bars(AT.replace(second=0) - timedelta(days=3), 3 * 1440))
    short, long = ask(context_window_minutes=1), ask(context_window_minutes=1400)
    assert len(short.indicators) == 60
    assert len(long.indicators) == 1400
    pd.testing.assert_frame_equal(short.indicators, long.indicators.iloc[-60:], check_exact=True, check_freq=False)
    assert not long.indicators.isna().any().any()


def test_indicators_are_the_textbook_s(ask: Callable[..., InferenceDataFrame], tape: Tape):
    bars = random_bars(AT.replace(second=0) - timedelta(days=6), 6 * 1440)
    write_bars(tape, bars)
    found = ask().indicators
    units = in_units(bars)
    units = closed_by(units, timedelta(minutes=1), AT)
    close = units["close"]
    ema = close.ewm(span=20, adjust=False).mean()
    change = close.diff()
    gain, loss = (part.ewm(alpha=1 / 14, adjust=False).mean() for part in (change.clip(lower=0), -change.clip(upper=0)))
    macd = close.ewm(span=12, adjust=False).mean() - close.ewm(span=26, adjust=False).mean()
    signal = macd.ewm(span=9, adjust=False).mean()
    middle, deviation = close.rolling(20).mean(), close.rolling(20).std(ddof=0)
    reach = pd.concat(
        [units["high"] - units["low"], *((units[one] - close.shift()).abs() for one in ("high", "low"))], axis=1
    )
    day = times(units).floor("D")
    typical = units[["high", "low", "close"]].sum(axis=1) / 3 * units["volume"]
    expected = pd.DataFrame(
        {
            "ema_20": ema,
            "rsi_14": 100 - 100 / (1 + gain / loss),
            "macd_12_26_9": macd,
            "macd_12_26_9_signal": signal,
            "macd_12_26_9_histogram": macd - signal,
            "bbands_20_2_upper": middle + 2 * deviation,
            "bbands_20_2_middle": middle,
            "bbands_20_2_lower": middle - 2 * deviation,
            "atr_14": reach.max(axis=1).ewm(alpha=1 / 14, adjust=False).mean(),
            "vwap": typical.groupby(day).cumsum() / units["volume"].groupby(day).cumsum(),
        }
    ).iloc[-60:]
    pd.testing.assert_frame_equal(found[expected.columns], expected, check_freq=False, rtol=1e-9)
    # TA-Lib's balance begins with the volume of its first bar, which here is the first of the UTC day.
    today = units[day == day[-1]]
    rises = np.sign(np.diff(today["close"].to_numpy(), prepend=0.0))
    balance = np.cumsum(rises * today["volume"].to_numpy())
    np.testing.assert_allclose(found["obv"].to_numpy()[-30:], balance[-30:])


def test_the_latest_price_is_that_of_whatever_was_last(ask: Callable[..., InferenceDataFrame], tape: Tape):
    second = timeframe("1s").floor(AT)
    trades = random_trades(second - timedelta(minutes=2), 50, span=timedelta(seconds=30))
    tape.write_trades(trades, (second - timedelta(minutes=2), second - timedelta(seconds=90)))
    seconds = random_bars(second - timedelta(minutes=1), 60, step=timedelta(seconds=1))
    write_bars(tape, seconds, "1s")
    assert ask().get_latest_price() == in_units(seconds)["close"].iloc[-1]
    # A trade of the very moment at which a candle closed is later than what that is made of.
    for number, price in enumerate((1.0, 100_000.0)):
        one = trades.iloc[:1].assign(price=price, trade_id=9000 + number)
        tape.write_trades(one.set_axis(pd.DatetimeIndex([second])), (second, second + timedelta(seconds=1)))
        assert ask(second + timedelta(milliseconds=500)).get_latest_price() == price


def test_indicators_are_at_hand_once_a_moment_is_read(tape: Tape, quiet_url: str):
    write_bars(tape, random_bars(AT.replace(second=0) - timedelta(hours=12), 700))
    code = """
import sys
from datetime import datetime
from tapehouse import MarketData

url, exchange, symbol, at = sys.argv[1:]
with MarketData.connect(url) as market:
    for names in ([], ["ema_20"]):
        market.get_inference_data(symbol, exchange=exchange, timestamp=datetime.fromisoformat(at), indicators=names)
        print("talib" in sys.modules)
"""
    arguments = [sys.executable, "-c", code, quiet_url, tape.exchange, tape.symbol, AT.isoformat()]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["False", "True"]


def test_what_is_not_stored_is_said(ask: Callable[..., InferenceDataFrame], tape: Tape):
    write_bars(tape, random_bars(AT.replace(second=0) - timedelta(minutes=90), 60))
    data = ask()
    assert data.trades.attrs["missing"] == "no trades stored"
    assert data.order_book is None
    assert data.ohlcv_1s.attrs["missing"] == "nothing stored gives candles of 1s"
    assert len(data.ohlcv_1m) == 30
    assert data.ohlcv_1m.attrs["candles_missing"] == 30
    assert "30 bars not known" in data.explain()
    assert "order_book: no order books stored\nimbalances: neither order books nor trades stored" in data.explain()
    assert np.isnan(data.to_numpy()["ohlcv_1m"][30:]).all()
    before = ask(AT - timedelta(days=2))
    assert before.ohlcv_1m.empty
    assert before.get_latest_price() is None
    assert np.isnan(before.to_numpy()["indicators"]).all()


def test_what_was_not_sampled_or_fetched_is_explained(ask: Callable[..., InferenceDataFrame], tape: Tape):
    early = AT - timedelta(hours=1)
    tape.write_books(random_books([early]), (early, early + timedelta(seconds=1)))
    context = f"{(AT - timedelta(minutes=5)).isoformat()} to {AT.isoformat()}"
    told = ask().explain()
    assert f"order_book: none in the context, not sampled {context}\n" in told
    assert f"imbalances: 0 rows, order books not sampled {context}, no trades stored\n" in told
    late = Snapshot(AT - timedelta(minutes=1), [(9.0, 1.0)], [(10.0, 1.0)], late=timedelta(minutes=2))
    tape.write_books([late], (AT - timedelta(minutes=5), AT))
    assert "order_book: none in the context had been received\n" in ask(as_known=True).explain()


def test_an_order_book_says_in_a_line_what_it_is(ask: Callable[..., InferenceDataFrame], tape: Tape):
    tape.write_books([Snapshot(AT, [(9.9, 1.0)], [(10.2, 1.0), (10.3, 2.0)])], (AT - timedelta(minutes=5), AT))
    assert repr(ask().order_book) == f"<OrderBookDataFrame at {AT.isoformat()}: bid 9.9, ask 10.2, spread 0.3>"


def test_the_latest_price_has_its_time(ask: Callable[..., InferenceDataFrame], tape: Tape):
    minute = AT.replace(second=0)
    write_bars(tape, random_bars(minute - timedelta(minutes=90), 80))
    assert ask().latest_price_at == minute - timedelta(minutes=10)
    trades = random_trades(AT - timedelta(minutes=4), 30, span=timedelta(minutes=3))
    tape.write_trades(trades, (AT - timedelta(minutes=5), AT))
    assert (ask().latest_price_at, ask().get_latest_price()) == (trades.index[-1], trades["price"].iloc[-1])
    assert ask(AT - timedelta(days=2)).latest_price_at is None


def test_moments_can_be_pickled_and_copied(ask: Callable[..., InferenceDataFrame], tape: Tape):
    write_bars(tape, random_bars(AT.replace(second=0) - timedelta(hours=5), 300))
    tape.write_trades(random_trades(AT - timedelta(minutes=5), 500, span=timedelta(minutes=5)), (AT - timedelta(1), AT))
    tape.write_books(random_books([AT - timedelta(seconds=5)]), (AT - timedelta(minutes=5), AT))
    refresh_features(tape.connection)
    data = ask()
    data.explain()
    for again in (pickle.loads(pickle.dumps(data)), copy.copy(data), copy.deepcopy(data)):
        assert_same(again, data)
        assert again.explain() == data.explain()
    # As trainers with several workers do.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as workers:
        assert_same(workers.submit(same, data).result(), data)


def same(data: InferenceDataFrame) -> InferenceDataFrame:
    """Run in another process."""
    assert len(data.ohlcv_1m) == 60
    return data


def test_only_what_was_received_counts_where_that_is_asked_for(ask: Callable[..., InferenceDataFrame], tape: Tape):
    start = AT - timedelta(minutes=5)
    books = random_books([start + timedelta(seconds=number) for number in range(300)])
    tape.write_books(books, (start, AT))
    refresh_features(tape.connection)
    plain, known = ask(depth=5), ask(depth=5, as_known=True)
    assert plain.order_book is not None
    assert known.order_book is not None
    assert plain.order_book.time == books[-1].time
    # Each was received a quarter of a second late, and the last one is of a second before.
    assert known.order_book.received_at <= AT
    late = ask(books[-1].time + timedelta(milliseconds=100), depth=5, as_known=True)
    assert late.order_book is not None
    assert late.order_book.time == books[-2].time
    assert late.imbalances.index[-1].to_pydatetime() + timedelta(seconds=1) <= books[-1].time


def test_a_snapshot_that_came_late_hides_the_minute_after_it_and_no_more(
    ask: Callable[..., InferenceDataFrame], market: MarketData, tape: Tape
):
    start, end = AT - timedelta(minutes=10), AT
    books = random_books([start + timedelta(seconds=number) for number in range(600)])
    late = timeframe("1s").floor(books[400].time)
    # The one long before any window concerns nobody.
    for number in (5, 400):
        books[number] = replace(books[number], late=timedelta(hours=1))
    tape.write_books(books, (start, end))
    refresh_features(tape.connection)
    at = AT - timedelta(seconds=2)
    plain, known = ask(at), ask(at, as_known=True)
    hidden = times(plain.imbalances).difference(times(known.imbalances))
    assert (hidden[0], hidden[-1], len(hidden)) == (late, late + timedelta(seconds=59), 60)
    pd.testing.assert_frame_equal(known.imbalances, plain.imbalances.drop(hidden))
    values = plain.to_numpy()["imbalances"].copy()
    first = int((late - times(plain.imbalances)[0]) / timedelta(seconds=1))
    values[first : first + 60] = np.nan
    np.testing.assert_array_equal(known.to_numpy()["imbalances"], values)
    asked = [start + timedelta(minutes=1), at]
    for one, data in market.iter_inference_data(tape.symbol, asked, exchange=tape.exchange, as_known=True):
        assert_same(data, ask(one, as_known=True))


@pytest.mark.parametrize("seconds", [1, 1.1, 2, 61])
def test_nothing_that_came_late_is_in_the_first_second_either(
    market: MarketData, make_tape: Callable[..., Tape], seconds: float
):
    second = timeframe("1s").floor(AT)
    at = second + timedelta(milliseconds=900)
    first = second - timedelta(seconds=int(-(-seconds // 1)))
    # In the window of the first second of the context, and of no second after it.
    late = Snapshot(first - timedelta(seconds=58.5), [(100.0, 9.0)], [(101.0, 1.0)], late=timedelta(hours=1))
    books = [Snapshot(second - timedelta(seconds=number - 0.2), [(100.0, 1.0)], [(101.0, 9.0)]) for number in range(63)]
    found: list[pd.DataFrame] = []
    for some in ([late, *books], books):
        tape = make_tape()
        tape.write_books(sorted(some, key=attrgetter("time")), (AT - timedelta(minutes=5), AT))
        refresh_features(tape.connection)
        data = market.get_inference_data(
            tape.symbol, exchange=tape.exchange, timestamp=at, context_window_minutes=seconds / 60, as_known=True
        )
        found.append(data.imbalances)
    with_late, without = found
    assert set(times(with_late)) <= set(times(without))
    pd.testing.assert_frame_equal(with_late, without.loc[times(with_late)])


def test_frames_are_their_reader_s_own(ask: Callable[..., InferenceDataFrame], tape: Tape):
    write_bars(tape, random_bars(AT.replace(second=0) - timedelta(days=1), 1440))
    data = ask()
    spoilt = data.ohlcv_1m
    spoilt.iloc[:, :] = 0.0
    spoilt.attrs["gaps"].append("spoilt")
    spoilt["more"] = 1
    indicators = data.indicators
    indicators.iloc[:, :] = 0.0
    assert_same(data, ask())
    assert ask().ohlcv_1m.attrs["gaps"] == []
    with pytest.raises(AttributeError, match="does not change"):
        data.timestamp = AT


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"at": datetime(2024, 1, 1)}, NaiveDatetime, "time zone"),  # noqa: DTZ001 -- that is the point
        ({"at": datetime(2124, 1, 1, tzinfo=UTC)}, InputError, "has not come yet"),
        ({"context_window_minutes": 0}, InputError, "no context window"),
        ({"context_window_minutes": float("nan")}, InputError, "no context window"),
        ({"context_window_minutes": 1441}, InputError, "no context window"),
        ({"depth": 0}, InputError, "no depth"),
        ({"indicators": ["sma"]}, InputError, "No indicator 'sma'"),
        ({"indicators": ["ema"]}, InputError, "No indicator 'ema': write it like ema_20, with numbers of at most 1000"),
        ({"indicators": ["obv_5"]}, InputError, "No indicator 'obv_5': write it like obv, without numbers"),
        ({"indicators": None}, InputError, "None is no list of indicators"),
        ({"indicators": [20]}, InputError, r"\[20\] is no list of indicators: pass their names"),
        ({"indicators": [["ema_20"]]}, InputError, "is no list of indicators"),
        ({"context_window_minutes": [5]}, InputError, "no context window"),
        ({"at": datetime.min.replace(tzinfo=UTC)}, InputError, "no time to reckon with"),
        ({"indicators": "ema_20"}, InputError, "list of names"),
    ],
)
def test_what_makes_no_sense_is_refused(
    ask: Callable[..., InferenceDataFrame], options: dict[str, Any], error: type[Exception], words: str
):
    with pytest.raises(error, match=words):
        ask(**options)


def test_what_is_unknown_is_named(ask: Callable[..., InferenceDataFrame], market: MarketData, tape: Tape):
    with pytest.raises(UnknownSeries, match="nothing stored"):
        ask()
    with pytest.raises(UnknownSymbol):
        market.get_inference_data("NOPE/USDT", exchange=tape.exchange)
    write_bars(tape, random_bars(AT.replace(second=0) - timedelta(minutes=90), 60))
    with pytest.raises(InputError, match="choose from 1s"):
        ask().ohlcv("30m")


def test_many_moments_are_those_asked_for_one_by_one(
    ask: Callable[..., InferenceDataFrame], market: MarketData, tape: Tape
):
    rng = np.random.default_rng(5)
    write_bars(tape, random_bars(AT.replace(second=0) - timedelta(days=2), 2 * 1440))
    start = AT - timedelta(hours=5)
    tape.write_trades(random_trades(start, 3000, span=timedelta(hours=5)), (start, AT))
    tape.write_books(random_books([start + timedelta(seconds=30 * number) for number in range(600)]), (start, AT))
    refresh_features(tape.connection)
    moments = [AT - timedelta(seconds=float(offset)) for offset in rng.uniform(0, 5 * 3600, 25)]
    moments += sorted(moments)
    found = list(market.iter_inference_data(tape.symbol, moments, exchange=tape.exchange))
    assert [at for at, _ in found] == moments
    for at, data in found:
        assert data.timestamp == at
        assert_same(data, ask(at))


def test_moments_are_found_by_the_times_they_were_asked_for(market: MarketData, tape: Tape):
    write_bars(tape, random_bars(AT.replace(second=0) - timedelta(hours=2), 120))
    precise = pd.Timestamp(AT) + pd.Timedelta(nanoseconds=7)
    ahead = datetime.now(UTC) + timedelta(seconds=30)
    asked = [AT, precise, AT.astimezone(timezone(timedelta(hours=9))), ahead]
    found = dict(market.iter_inference_data(tape.symbol, iter(asked), exchange=tape.exchange))
    assert set(found) == set(asked)
    assert found[precise].timestamp == AT
    assert found[ahead].timestamp < ahead
