import json
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from tapehouse import MarketData
from tapehouse.book import NO_NONCE
from tapehouse.errors import InputError, UnknownSeries
from tapehouse.query.ledger import read_ledger
from tapehouse.query.question import ask_at
from tests.query.conftest import Side, Snapshot, Tape, random_books

START = datetime(2024, 1, 1, tzinfo=UTC)
NAN = math.nan
FIRST = Snapshot(START, [(99.5, 1.0), (99.0, 2.5)], [(100.0, 0.25)], nonce=7)
SECOND = Snapshot(
    START + timedelta(seconds=1.5), [(99.75, 1.125)], [(100.0, 0.125), (100.5, 7.0), (101.0, 8.0)], nonce=NO_NONCE
)


def at(**delta: float) -> datetime:
    return START + timedelta(**delta)


def span(start: datetime, end: datetime) -> list[str]:
    return [start.isoformat(), end.isoformat()]


def filled(side: Side, depth: int) -> list[list[float]]:
    """Prices and amounts of a side, to a depth."""
    levels = [*side, *([(NAN, NAN)] * depth)][:depth]
    return [[price for price, _ in levels], [amount for _, amount in levels]]


def wide(books: list[Snapshot], depth: int) -> pd.DataFrame:
    """The documented frame, built row by row."""
    names = [
        f"{name}_{level}"
        for name in ("bid_price", "bid_amount", "ask_price", "ask_amount")
        for level in range(1, depth + 1)
    ]
    rows = [[number for side in (one.bids, one.asks) for row in filled(side, depth) for number in row] for one in books]
    index = pd.DatetimeIndex([one.time for one in books], name="time").as_unit("us")
    frame = pd.DataFrame(rows, index=index, columns=pd.Index(names))
    frame.insert(0, "received_at", pd.DatetimeIndex([one.time + one.late for one in books]).as_unit("us"))
    nonces = [pd.NA if one.nonce == NO_NONCE else one.nonce for one in books]
    frame.insert(1, "nonce", pd.Series(nonces, index=index, dtype="Int64"))
    return frame


def books(
    market: MarketData, tape: Tape, start: datetime, end: datetime | None = None, depth: int = 20
) -> pd.DataFrame:
    return market.order_books(tape.exchange, tape.symbol, start, end, depth=depth)


def assert_same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(found, expected, check_exact=True, check_freq=False)


def test_the_book_is_the_last_one_at_that_time(market: MarketData, tape: Tape):
    tape.write_books([FIRST, SECOND], (START, at(seconds=2)))
    for moment, expected in (
        (START, FIRST),
        (at(seconds=1.499999), FIRST),
        (at(seconds=1.5), SECOND),
        (at(days=9), SECOND),
        (None, SECOND),
    ):
        found = market.order_book(tape.exchange, tape.symbol, moment)
        levels = max(len(expected.bids), len(expected.asks))
        (bid_price, bid_amount), (ask_price, ask_amount) = (
            filled(side, levels) for side in (expected.bids, expected.asks)
        )
        columns = {
            "bid_price": bid_price,
            "bid_amount": bid_amount,
            "ask_price": ask_price,
            "ask_amount": ask_amount,
        }
        assert_same(found, pd.DataFrame(columns, index=pd.RangeIndex(1, levels + 1, name="level")))
        assert found.attrs["time"] == expected.time.isoformat()
        assert found.attrs["received_at"] == (expected.time + expected.late).isoformat()
        assert found.attrs["nonce"] == (None if expected.nonce == NO_NONCE else expected.nonce)
        assert found.attrs["at"] == (moment.isoformat() if moment else found.attrs["as_of"])


def test_before_the_first_snapshot_there_is_no_book(market: MarketData, tape: Tape):
    tape.write_books([FIRST], (START, at(seconds=2)))
    found = market.order_book(tape.exchange, tape.symbol, at(seconds=-1))
    assert found.shape == (0, 4)
    assert found.index.name == "level"
    assert set(map(str, found.dtypes)) == {"float64"}
    assert [found.attrs[name] for name in ("time", "received_at", "nonce")] == [None, None, None]


def test_a_book_from_the_future_is_not_shown(market: MarketData, tape: Tape):
    # An exchange whose clock is ahead of ours.
    now = datetime.now(UTC)
    ahead = Snapshot(now + timedelta(hours=1), SECOND.bids, SECOND.asks)
    tape.write_books([FIRST, ahead], (START, now + timedelta(days=1)))
    for moment in (None, now + timedelta(seconds=45)):
        found = market.order_book(tape.exchange, tape.symbol, moment)
        assert found.attrs["time"] == START.isoformat()
        assert found.attrs["at"] == found.attrs["as_of"]
    assert len(books(market, tape, START)) == 1


def test_a_book_counts_from_when_the_exchange_says_it_was_so(market: MarketData, tape: Tape):
    # An exchange that tells when the book last changed.
    told_late = Snapshot(at(seconds=1.5), SECOND.bids, SECOND.asks, late=timedelta(minutes=10))
    tape.write_books([FIRST, told_late], (START, at(seconds=2)))
    one, many = market.order_book(tape.exchange, tape.symbol, at(seconds=2)), books(market, tape, at(seconds=1))
    assert one.attrs["time"] == at(seconds=1.5).isoformat()
    assert one.attrs["received_at"] == at(minutes=10, seconds=1.5).isoformat()
    assert many.index.tolist() == [pd.Timestamp(at(seconds=1.5))]
    assert many["received_at"].tolist() == [pd.Timestamp(at(minutes=10, seconds=1.5))]


@pytest.mark.parametrize("moment", [None, at(minutes=50), at(days=36_500)])
def test_for_a_moment_no_coverage_is_read(tape: Tape, moment: datetime | None):
    tape.write_books([FIRST], *((at(minutes=number), at(minutes=number, seconds=1)) for number in range(100)))
    ledger = read_ledger(tape.connection, ask_at(tape.exchange, tape.symbol, moment), "order_book")
    series = ledger.find("order_book")
    assert series is not None
    assert series.covered == ()
    assert ledger.end == (moment if moment == at(minutes=50) else ledger.as_of)


def test_a_book_is_cut_to_the_depth_asked_for(market: MarketData, tape: Tape):
    tape.write_books([SECOND], (START, at(seconds=2)))
    found = market.order_book(tape.exchange, tape.symbol, depth=2)
    assert found["ask_price"].tolist() == [100.0, 100.5]
    assert found["bid_price"].dropna().tolist() == [99.75]


@pytest.mark.parametrize("levels", [(20, 20), (1, 25)])
@pytest.mark.parametrize("depth", [1, 20, 30])
def test_snapshots_come_back_exactly(market: MarketData, tape: Tape, levels: tuple[int, int], depth: int):
    stored = random_books((at(seconds=number, microseconds=number) for number in range(300)), levels=levels)
    tape.write_books(stored, (START, at(minutes=5)))
    assert_same(books(market, tape, START, at(minutes=5), depth), wide(stored, depth))


def test_snapshots_without_a_nonce_have_none(market: MarketData, tape: Tape):
    tape.write_books([FIRST, SECOND], (START, at(seconds=2)))
    assert_same(books(market, tape, START, at(minutes=5), 2), wide([FIRST, SECOND], 2))


def test_a_window_begins_with_its_start_and_ends_before_its_end(market: MarketData, tape: Tape):
    tape.write_books(random_books(at(seconds=number) for number in range(5)), (START, at(seconds=5)))
    assert books(market, tape, at(seconds=1), at(seconds=3))["nonce"].tolist() == [1, 2]


def test_an_empty_frame_has_the_documented_shape(market: MarketData, tape: Tape):
    tape.write_books([FIRST], (START, at(seconds=2)))
    found = books(market, tape, at(days=1), at(days=2), 3)
    assert_same(found, wide([FIRST], 3).iloc[:0])


def test_attrs_say_what_was_fetched_and_what_amounts_count(market: MarketData, tape: Tape):
    tape.connection.execute(
        "update instrument set trade_unit = 'contract' where instrument_id = %s", (tape.instrument_id,)
    )
    tape.write_books([FIRST, SECOND], (START, at(seconds=1)), (at(seconds=1.5), at(seconds=3)))
    one, many = market.order_book(tape.exchange, tape.symbol), books(market, tape, START, at(seconds=4))
    for found in (one, many):
        assert (found.attrs["exchange"], found.attrs["symbol"]) == (tape.exchange, "BTC/USDT")
        assert (found.attrs["amount_unit"], found.attrs["from_sandbox"]) == ("contract", False)
        assert found.attrs["revision"] == 0
        assert json.loads(json.dumps(found.attrs)) == found.attrs
    assert many.attrs["covered"] == [span(START, at(seconds=1)), span(at(seconds=1.5), at(seconds=3))]
    assert many.attrs["gaps"] == [span(at(seconds=1), at(seconds=1.5)), span(at(seconds=3), at(seconds=4))]


def test_what_happens_after_the_end_changes_nothing(market: MarketData, make_tape: Callable[..., Tape]):
    stored = random_books((at(seconds=2 * number) for number in range(50)), levels=(1, 5))
    whole, older = make_tape(), make_tape()
    whole.write_books(stored, (START, at(seconds=100)))
    for seconds in (0.5, 33, 99):
        end = at(seconds=seconds)
        older.write_books([one for one in stored if one.time < end], (START, end))
        assert_same(books(market, whole, START, end), books(market, older, START, end))
        found = [market.order_book(tape.exchange, tape.symbol, end) for tape in (whole, older)]
        assert_same(*found)
        assert found[0].attrs["time"] == found[1].attrs["time"]


def test_many_snapshots_are_read_whole(market: MarketData, tape: Tape):
    # On the embedded database more than one statement's.
    tape.connection.execute(
        """
        insert into order_book
        select %(id)s, %(start)s + n * interval '1 second', %(start)s, n, array_fill(n::float8, array[50]),
            array_fill(1::float8, array[50]), array_fill(n + 1::float8, array[50]), array_fill(2::float8, array[50])
        from generate_series(0, 8999) n
        """,
        {"id": tape.instrument_id, "start": START},
    )
    tape.write_books([], (START, at(days=1)))
    found = books(market, tape, START, at(days=1), 50)
    assert found["nonce"].tolist() == list(range(9000))
    assert found["bid_price_50"].tolist() == [number / 100 for number in range(9000)]
    assert (found["ask_amount_1"] == 0.002).all()


def test_a_depth_may_be_a_number_of_numpy(market: MarketData, tape: Tape):
    tape.write_books(random_books([START]), (START, at(seconds=1)))
    assert len(market.order_book(tape.exchange, tape.symbol, depth=np.int64(5))) == 5  # pyright: ignore[reportArgumentType] -- that is the point


@pytest.mark.parametrize("depth", [0, -1, 2.5, "20", True, False, 5001, 10**9, 2**200])
def test_a_depth_without_sense_is_refused(market: MarketData, tape: Tape, depth: int):
    for ask in (
        lambda: market.order_book(tape.exchange, tape.symbol, depth=depth),
        lambda: market.order_books(tape.exchange, tape.symbol, START, depth=depth),
    ):
        with pytest.raises(InputError, match="is no depth: pass how many levels a side, from 1 to 5000"):
            ask()


def test_the_largest_depth_is_answered(market: MarketData, tape: Tape):
    tape.write_books([FIRST], (START, at(seconds=2)))
    assert market.order_book(tape.exchange, tape.symbol, depth=5000)["bid_price"].tolist() == [99.5, 99.0]
    found = books(market, tape, START, at(seconds=1), 5000)
    assert found.shape == (1, 20_002)
    assert found["bid_price_2"].tolist() == [99.0]
    assert math.isnan(found["ask_amount_5000"].iloc[0])


def test_an_instrument_without_order_books_says_how_to_get_them(market: MarketData, tape: Tape):
    tape.series_id("1m")
    for ask in (
        lambda: market.order_book(tape.exchange, tape.symbol),
        lambda: market.order_books(tape.exchange, tape.symbol, START),
        lambda: market.order_book_features(tape.exchange, tape.symbol, START),
        lambda: market.imbalances(tape.exchange, tape.symbol, START),
    ):
        with pytest.raises(UnknownSeries, match="has no order books stored") as caught:
            ask()
        assert f"`tapehouse ingest order-books --exchange {tape.exchange} --symbol BTC/USDT`" in str(caught.value)
