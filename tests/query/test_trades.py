from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from tapehouse import MarketData
from tapehouse.errors import UnknownSeries
from tests.query.conftest import Tape, random_trades

START = datetime(2024, 1, 1, tzinfo=UTC)


def at(**delta: float) -> datetime:
    return START + timedelta(**delta)


def span(start: datetime, end: datetime) -> list[str]:
    return [start.isoformat(), end.isoformat()]


def trades(market: MarketData, tape: Tape, start: datetime, end: datetime | None = None) -> pd.DataFrame:
    return market.trades(tape.exchange, tape.symbol, start, end)


def some_trades(*rows: tuple[float, int | str, float, float, str]) -> pd.DataFrame:
    """Trades from seconds after the start, id, price, amount, side."""
    frame = pd.DataFrame(rows, columns=pd.Index(["time", "trade_id", "price", "amount", "side"]), dtype=object)
    return frame.set_index(pd.DatetimeIndex([at(seconds=seconds) for seconds in frame.pop("time")]))


def assert_same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Equal to the last bit; the frequency of an index is no part of the contract."""
    pd.testing.assert_frame_equal(found, expected, check_exact=True, check_freq=False)


def test_trades_come_back_exactly_and_in_their_order(market: MarketData, tape: Tape):
    stored = random_trades(START, 3000, span=timedelta(hours=1))
    assert stored.index.has_duplicates
    tape.write_trades(stored, (START, at(hours=1)))
    assert_same(trades(market, tape, START, at(hours=1)), stored)


def test_a_window_begins_with_its_start_and_ends_before_its_end(market: MarketData, tape: Tape):
    rows = [(second, number, 1.0, 1.0, "buy") for number, second in enumerate([0, 1, 1, 2, 3])]
    tape.write_trades(some_trades(*rows), (START, at(seconds=10)))
    assert trades(market, tape, at(seconds=1), at(seconds=3))["trade_id"].tolist() == [1, 2, 3]


def test_ids_that_are_texts_come_back_exactly(market: MarketData, tape: Tape):
    ids = ["00000000000000000001", "007", " a b", "f2c6ce0e-1c3e-4a6a-9c0e-0d7b0c8a4d11", "überlang-✓"]
    rows = [(second, one, 5.0, 1.0, "sell") for second, one in enumerate(ids)]
    tape.write_trades(some_trades(*rows, (9, 2**63 - 1, 5.0, 1.0, "buy")), (START, at(seconds=10)))
    found = trades(market, tape, START, at(seconds=10))
    assert found["trade_id"].tolist() == [*ids, "9223372036854775807"]
    # The type is that of the series, not of what happens to lie in the window.
    numbers = trades(market, tape, at(seconds=9), at(seconds=10))
    assert numbers["trade_id"].dtype == found["trade_id"].dtype == "str"
    assert numbers["trade_id"].tolist() == ["9223372036854775807"]


def test_short_ids_that_are_texts_leave_room_for_long_numbers(market: MarketData, tape: Tape):
    tape.write_trades(some_trades((0, "a", 5.0, 1.0, "buy"), (1, 10**18, 5.0, 1.0, "buy")), (START, at(seconds=10)))
    assert trades(market, tape, START)["trade_id"].tolist() == ["a", str(10**18)]


@pytest.mark.parametrize(("ids", "dtype"), [([1], "int64"), (["a"], "str")])
def test_the_frame_has_the_documented_shape(market: MarketData, tape: Tape, ids: list[int | str], dtype: str):
    tape.write_trades(some_trades(*((0, one, 5.0, 1.0, "buy") for one in ids)), (START, at(seconds=10)))
    for found in (trades(market, tape, START), trades(market, tape, at(seconds=5), at(seconds=6))):
        assert (found.index.name, str(found.index.dtype)) == ("time", "datetime64[us, UTC]")
        assert {str(name): str(one) for name, one in found.dtypes.items()} == {
            "trade_id": dtype,
            "price": "float64",
            "amount": "float64",
            "side": "category",
        }
        assert found["side"].cat.categories.tolist() == ["buy", "sell", "unknown"]


def test_attrs_say_what_was_fetched_and_what_amounts_count(market: MarketData, tape: Tape):
    tape.connection.execute(
        "update instrument set trade_unit = 'contract' where instrument_id = %s", (tape.instrument_id,)
    )
    tape.write_trades(random_trades(START, 50, span=timedelta(minutes=1)), (START, at(minutes=1)))
    late = random_trades(at(minutes=2), 50, span=timedelta(minutes=1))
    tape.write_trades(late, (at(minutes=2), at(minutes=3)))
    attrs = trades(market, tape, at(minutes=-1), at(minutes=2.5)).attrs
    assert (attrs["exchange"], attrs["symbol"]) == (tape.exchange, "BTC/USDT")
    assert (attrs["amount_unit"], attrs["from_sandbox"]) == ("contract", False)
    assert (attrs["start"], attrs["end"]) == (at(minutes=-1).isoformat(), at(minutes=2.5).isoformat())
    assert attrs["covered"] == [span(START, at(minutes=1)), span(at(minutes=2), at(minutes=2.5))]
    assert attrs["gaps"] == [span(at(minutes=-1), START), span(at(minutes=1), at(minutes=2))]
    assert (attrs["revision"], attrs["shortened"], attrs["dropped_before"]) == (0, [], None)
    tape.write_trades(late.assign(price=1.0), (at(minutes=2), at(minutes=3)))
    assert trades(market, tape, START).attrs["revision"] == 1


def test_trades_that_retention_dropped_are_no_longer_covered(market: MarketData, tape: Tape):
    start = datetime(2019, 1, 1, tzinfo=UTC)
    tape.write_trades(random_trades(start, 50, span=timedelta(days=2)), (start, start + timedelta(days=2)))
    dropped_before = start + timedelta(days=1)
    tape.connection.execute(
        "delete from trade where instrument_id = %s and time < %s", (tape.instrument_id, dropped_before)
    )
    tape.connection.execute("insert into retention values ('trade', 0, %s)", (dropped_before,))
    try:
        attrs = trades(market, tape, start, start + timedelta(days=2)).attrs
        seconds = market.coverage(tape.exchange)["covered"].tolist()
    finally:
        tape.connection.execute("delete from retention where dataset = 'trade'")
    assert attrs["dropped_before"] == dropped_before.isoformat()
    assert attrs["gaps"] == [span(start, dropped_before)]
    assert seconds == [86_400]


def test_without_an_end_trades_reach_to_now(market: MarketData, tape: Tape):
    now = datetime.now(UTC)
    start = now - timedelta(minutes=1)
    # An exchange whose clock is ahead of ours.
    stored = random_trades(start, 200, span=timedelta(hours=1))
    tape.write_trades(stored, (start, start + timedelta(hours=1)))
    found = trades(market, tape, start)
    as_of = pd.Timestamp(found.attrs["as_of"])
    assert_same(found, stored[stored.index < as_of])
    assert found.attrs["covered"] == [span(start, as_of.to_pydatetime())]
    later = trades(market, tape, datetime.now(UTC) + timedelta(seconds=45), now + timedelta(minutes=20))
    assert (len(later), later.attrs["gaps"], later.attrs["covered"]) == (0, [], [])


def test_what_happens_after_the_end_changes_nothing(market: MarketData, make_tape: Callable[..., Tape]):
    stored = random_trades(START, 1000, span=timedelta(hours=1))
    whole, older = make_tape(), make_tape()
    whole.write_trades(stored, (START, at(hours=1)))
    for minutes in (0.001, 17.3, 60):
        end = at(minutes=minutes)
        older.write_trades(stored[stored.index < pd.Timestamp(end)], (START, end))
        assert_same(trades(market, whole, START, end), trades(market, older, START, end))


def test_many_trades_are_read_whole(market: MarketData, tape: Tape):
    # More than are taken over at once, and on the embedded database more than one statement's;
    # thousands of them at one time where that one's portion ends.
    count = 150_000
    seconds = np.arange(count)
    seconds[130_000:138_000] = 130_000
    tape.connection.execute(
        "insert into trade select %s, %s + second * interval '1 second', number, number + 1, number, 1 "
        "from unnest(%s::int[]) with ordinality as n (second, number)",
        (tape.instrument_id, START, seconds.tolist()),
    )
    tape.write_trades(some_trades(), (START, at(days=3)))
    found = trades(market, tape, START, at(days=3))
    number = 1 + np.arange(count)
    assert found["trade_id"].tolist() == number.tolist()
    assert found["price"].tolist() == ((number + 1) / 100).tolist()
    assert found.index.equals(pd.DatetimeIndex(pd.Timestamp(START) + pd.to_timedelta(seconds, unit="s")))


def test_an_instrument_without_trades_says_how_to_get_them(market: MarketData, tape: Tape):
    tape.series_id("1m")
    command = f"`tapehouse ingest trades --exchange {tape.exchange} --symbol BTC/USDT --since 1h`"
    for ask in (
        lambda: market.trades(tape.exchange, "BTC/USDT", START),
        lambda: market.candles(tape.exchange, "BTC/USDT", "1m", START, source="trades"),
    ):
        with pytest.raises(UnknownSeries, match="has no trades stored") as caught:
            ask()
        assert command in str(caught.value)
