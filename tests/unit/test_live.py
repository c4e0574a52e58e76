"""The tape of what streams receive: order, memory, what counts as complete, and who is told."""

import threading
from time import monotonic

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapehouse.errors import SubscriberTooSlow
from tapehouse.live import LiveBook, LiveCandle, LiveTape, LiveTrade, tape
from tapehouse.live.rows import MEMORY_US, BookRows, TradeRows
from tapehouse.live.subscription import MOST_WAITING, LiveSubscription, Turn
from tapehouse.live.tape import BOOKS, TRADES, LiveSeries

NAMES = "binance", "BTC/USDT"
START_US = 1_767_225_600_000_000
MINUTE_US = 60_000_000


def trade(time_us: int, trade_id: int = 1, *, price: float = 1.0, id_text: str = "") -> LiveTrade:
    return LiveTrade(time_us, trade_id, id_text, price, 2.0, 1)


def candle(number: int, *, is_closed: bool = True) -> LiveCandle:
    return LiveCandle(START_US + number * MINUTE_US, 1.0, 2.0, 0.5, 1.5, 9.0, is_closed=is_closed)


def series_of(live: LiveTape, name: tuple[str, str | None] = TRADES) -> LiveSeries:
    return live.market(*NAMES).series[name]


keys = st.tuples(st.integers(0, 8), st.sampled_from([(1, ""), (2, ""), (3, ""), (0, "a"), (0, "a-longer-one")]))


@given(st.lists(st.tuples(keys, st.integers(1, 3)), max_size=60))
def test_trades_are_kept_by_their_key_whatever_order_they_come_in(
    received: list[tuple[tuple[int, tuple[int, str]], int]],
):
    rows = TradeRows()
    model: dict[tuple[int, int, str], float] = {}
    taken: list[tuple[int, int, str]] = []
    place = rows.place
    for (time_us, (trade_id, id_text)), price in received:
        key = time_us, trade_id, id_text
        assert rows.add(LiveTrade(*key, float(price), 1.0, 1)) == (key not in model)
        model[key] = float(price)
        behind = rows.since(place)
        if behind is None:
            taken, behind = [], rows.all()
        taken += list(zip(behind.time_us.tolist(), behind.trade_id.tolist(), behind.id_text.tolist(), strict=True))
        place = rows.place
    everything = rows.all()
    found = zip(everything.time_us.tolist(), everything.trade_id.tolist(), everything.id_text.tolist(), strict=True)
    assert list(found) == sorted(model) == taken
    assert everything.price.tolist() == [model[key] for key in sorted(model)]


def test_what_was_handed_out_does_not_change():
    rows = TradeRows()
    for number in range(3000):
        rows.add(trade(START_US + 10 * number, number, price=float(number)))
    before = rows.all()
    copy = before.price.copy()
    for number in range(3000):
        rows.add(trade(START_US + 10 * number + 5, number))
        rows.add(trade(START_US + 10 * number, number, price=-1.0))
    np.testing.assert_array_equal(before.price, copy)


def test_trades_are_forgotten_after_a_while():
    rows = TradeRows()
    count = 5000
    for number in range(count):
        rows.add(trade(START_US + number * (2 * MEMORY_US // count), number))
    assert len(rows) < count
    assert rows.last_us is not None
    assert rows.first_us is not None
    assert rows.first_us >= rows.forgotten_us > START_US
    # What comes again is no news.
    assert not rows.add(trade(START_US, 0))


def test_an_order_book_of_the_same_time_takes_the_place_of_the_one_before():
    rows = BookRows()
    first, same = LiveBook(5, 6, 1, [(1.0, 2.0)], []), LiveBook(5, 7, 2, [(1.0, 2.0)], [])
    other = LiveBook(5, 8, 3, [(1.0, 3.0)], [])
    assert rows.add(first)
    assert not rows.add(same)
    assert rows.all() == [first]
    assert rows.add(other)
    assert rows.add(earlier := LiveBook(4, 5, 0, [], []))
    assert rows.all() == [earlier, other]


def test_trades_count_as_complete_without_the_milliseconds_at_both_ends():
    live = LiveTape()
    live.opened(*NAMES, "trade", None)
    live.trade(*NAMES, trade(START_US + 400, 1))
    assert series_of(live).covered_us is None
    live.trade(*NAMES, trade(START_US + 7200, 2))
    assert series_of(live).covered_us == (START_US + 1000, START_US + 7000)


def test_closed_candles_count_as_complete_from_the_first_to_the_last():
    live = LiveTape()
    live.opened(*NAMES, "ohlcv", "1m")
    for number in (0, 2):
        live.candle(*NAMES, "1m", candle(number))
        live.candle(*NAMES, "1m", candle(number + 1, is_closed=False))
    series = series_of(live, ("ohlcv", "1m"))
    assert series.covered_us == (START_US, START_US + 3 * MINUTE_US)
    assert len(series.rows) == 2


@pytest.mark.parametrize(("broken_ms", "start_ms"), [(5, 7), (9, None), (3, 4)])
def test_behind_a_hole_what_is_complete_begins_anew(broken_ms: int, start_ms: int | None):
    live = LiveTape()
    live.opened(*NAMES, "trade", None)
    for number in (1, 3, 6, 8):
        live.trade(*NAMES, trade(START_US + number * 1000, number))
    live.broken(*NAMES, "trade", None, START_US + broken_ms * 1000)
    expected = None if start_ms is None else (START_US + start_ms * 1000, START_US + 8000)
    assert series_of(live).covered_us == expected
    # The rows are what they are, until they are stored.
    assert len(series_of(live).rows) == 4


def test_what_is_stored_is_forgotten_once_readers_have_had_time(monkeypatch: pytest.MonkeyPatch):
    live = LiveTape()
    live.opened(*NAMES, "trade", None)
    for number in range(10):
        live.trade(*NAMES, trade(START_US + number * 1000, number))
    live.stored(*NAMES, "trade", None, START_US + 4000)
    live.stored(*NAMES, "trade", None, START_US + 5000)
    assert len(series_of(live).rows) == 10
    monkeypatch.setattr(tape, "monotonic", lambda: monotonic() + 20.0)
    live.stored(*NAMES, "trade", None, START_US + 6000)
    assert series_of(live).rows.first_us == START_US + 5000
    assert series_of(live).covered_us == (START_US + 5000, START_US + 9000)


def test_what_is_left_of_a_stream_is_forgotten_in_the_end(monkeypatch: pytest.MonkeyPatch):
    live = LiveTape()
    assert live.find(*NAMES) is None
    live.market(*NAMES)
    # Nothing is live of a market that somebody only listens to.
    assert live.find(*NAMES) is None
    live.opened(*NAMES, "trade", None)
    live.trade(*NAMES, trade(START_US, 1))
    live.closed(*NAMES, "trade", None)
    assert live.find(*NAMES) is live.market(*NAMES)
    monkeypatch.setattr(tape, "monotonic", lambda: monotonic() + 601.0)
    assert live.find(*NAMES) is None


def test_what_is_of_the_future_is_not_believed():
    live = LiveTape()
    live.opened(*NAMES, "trade", None)
    live.trade(*NAMES, trade(2 * START_US, 1))
    assert live.market(*NAMES).newest_us == 0
    assert not len(series_of(live).rows)


def test_several_threads_may_tell_and_read():
    live = LiveTape()
    counts: list[int] = []

    def tell(first: int) -> None:
        for number in range(2000):
            live.trade(*NAMES, trade(START_US + number * 1000 + first, first))

    def read() -> None:
        while not counts or counts[-1] < 4000:
            market = live.market(*NAMES)
            with market.lock:
                rows = market.series[TRADES].rows if TRADES in market.series else TradeRows()
                assert isinstance(rows, TradeRows)
                batch = rows.all()
            assert (np.diff(batch.time_us) > 0).all()
            counts.append(len(batch))

    threads = [threading.Thread(target=tell, args=[first]) for first in (1, 2)] + [threading.Thread(target=read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert counts[-1] == 4000


def test_only_the_newest_order_book_and_forming_candle_wait():
    live, woken = LiveTape(), []
    candles = ("ohlcv", "1m")
    subscription, opened = live.market(*NAMES).subscribe([TRADES, BOOKS, candles], lambda: woken.append(1))
    assert not opened
    live.opened(*NAMES, "trade", None)
    books = [LiveBook(START_US + number, START_US, number, [], []) for number in range(3)]
    live.book(*NAMES, books[0])
    live.trade(*NAMES, trade(START_US, 1))
    for book in books[1:]:
        live.book(*NAMES, book)
    live.candle(*NAMES, "1m", candle(0, is_closed=False))
    live.candle(*NAMES, "1m", candle(0))
    live.candle(*NAMES, "1m", candle(1, is_closed=False))
    assert subscription.take() == [
        (TRADES, Turn.OPENED),
        (BOOKS, books[2]),
        (TRADES, trade(START_US, 1)),
        (candles, candle(0)),
        (candles, candle(1, is_closed=False)),
    ]
    assert subscription.take() == []
    assert woken == [1]
    live.trade(*NAMES, trade(START_US, 1))
    assert subscription.take() == []
    live.trade(*NAMES, trade(START_US, 2))
    assert woken == [1, 1]
    subscription.close()
    live.trade(*NAMES, trade(START_US, 3))
    assert len(subscription.take()) == 1


def test_who_is_too_slow_is_told_after_what_had_waited():
    subscription = LiveSubscription([TRADES], lambda: None, lambda: None)
    for number in range(MOST_WAITING + 1):
        subscription.tell(TRADES, trade(START_US, number))
    assert len(subscription.take()) == MOST_WAITING
    with pytest.raises(SubscriberTooSlow):
        subscription.take()
