from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tapehouse import MarketData
from tapehouse.errors import InputError
from tests.query.conftest import COLUMNS, Tape, pandas_trade_bars, random_trades, times

START = datetime(2024, 1, 1, tzinfo=UTC)
PANDAS_RULES = {
    "1s": "1s",
    "5s": "5s",
    "90s": "90s",
    "1m": "1min",
    "5m": "5min",
    "1h": "1h",
    "4h": "4h",
}


def at(**delta: float) -> datetime:
    return START + timedelta(**delta)


def span(start: datetime, end: datetime) -> list[str]:
    return [start.isoformat(), end.isoformat()]


def candles(market: MarketData, tape: Tape, name: str, start: datetime, end: datetime | None = None) -> pd.DataFrame:
    return market.candles(tape.exchange, tape.symbol, name, start, end, source="trades")


def closed_by(bars: pd.DataFrame, rule: str, end: datetime) -> pd.DataFrame:
    """Those of the bars that have closed by then."""
    return bars[times(bars) + pd.Timedelta(rule) <= pd.Timestamp(end)]


def assert_same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Equal to the last bit; the frequency of an index is no part of the contract."""
    pd.testing.assert_frame_equal(found, expected, check_exact=True, check_freq=False)


@pytest.mark.parametrize("is_refreshed", [False, True])
def test_bars_are_built_from_trades(market: MarketData, tape: Tape, is_refreshed: bool):
    stored = random_trades(START, 6000, span=timedelta(hours=5))
    tape.write_trades(stored, (START, at(hours=5)))
    if is_refreshed:
        tape.refresh_trade_rollups(START, at(hours=5))
    for name, rule in PANDAS_RULES.items():
        found = candles(market, tape, name, START, at(hours=4))
        assert_same(found, closed_by(pandas_trade_bars(stored, rule), rule, at(hours=4)))
        rollup = "trade_candle_1s" if name.endswith("s") else "trade_candle_1m"
        assert found.attrs["source"] == "trades"
        assert (rollup if is_refreshed else "trade") in found.attrs["read_from"]


def test_rollups_that_are_behind_are_not_trusted(market: MarketData, tape: Tape):
    stored = random_trades(START, 6000, span=timedelta(hours=2))
    is_late = np.random.default_rng(1).random(6000) < 0.01
    is_late &= stored.index < pd.Timestamp(at(hours=1))
    tape.write_trades(stored[~is_late], (START, at(hours=2)))
    tape.refresh_trade_rollups(START, at(hours=2))
    before = candles(market, tape, "1m", START, at(hours=2))
    tape.write_trades(stored[is_late], (START, at(hours=2)))
    for name, rule in PANDAS_RULES.items():
        found = candles(market, tape, name, START, at(hours=2))
        assert_same(found, closed_by(pandas_trade_bars(stored, rule), rule, at(hours=2)))
    found = candles(market, tape, "1m", START, at(hours=2))
    assert found.attrs["read_from"] == ["trade_candle_1m", "trade"]
    assert not found.equals(before), "the rollups were meant to be behind"
    assert found.attrs["revision"] == before.attrs["revision"] + 1


def test_the_order_of_ids_says_which_trade_opens_and_closes(market: MarketData, tape: Tape):
    stored = random_trades(START, 4, span=timedelta(milliseconds=30))
    assert stored.index.nunique() == 1
    # Written in the order of ids, which is not that in which they are sorted as texts.
    for number, price in ((9, 1.0), (10, 2.0), (100, 4.0), (11, 3.0)):
        one = stored.iloc[:1].assign(trade_id=number, price=price, side="buy")
        tape.write_trades(one, (START, at(minutes=1)))
    for name in ("1s", "1m"):
        row = candles(market, tape, name, START, at(minutes=1)).iloc[0]
        assert row[["open", "high", "low", "close", "trades"]].tolist() == [1.0, 4.0, 1.0, 4.0, 4]


def test_bars_are_known_only_where_all_of_them_is_covered(market: MarketData, tape: Tape):
    stored = random_trades(START, 3000, span=timedelta(minutes=10))
    covered = [(at(minutes=1.25), at(minutes=4)), (at(minutes=4, milliseconds=1), at(minutes=7.5))]
    for start, end in covered:
        inside = stored[(stored.index >= pd.Timestamp(start)) & (stored.index < pd.Timestamp(end))]
        tape.write_trades(inside, (start, end))
    found = candles(market, tape, "1m", START, at(minutes=10))
    assert_same(found, pandas_trade_bars(stored, "1min").iloc[[2, 3, 5, 6]])
    attrs = found.attrs
    assert attrs["covered"] == [span(*one) for one in covered]
    assert attrs["incomplete"] == [
        span(at(minutes=1), at(minutes=2)),
        span(at(minutes=4), at(minutes=5)),
        span(at(minutes=7), at(minutes=8)),
    ]
    assert (attrs["candles_expected"], attrs["candles_empty"], attrs["candles_missing"]) == (10, 0, 6)
    seconds = candles(market, tape, "1s", at(minutes=3.95), at(minutes=4.05))
    assert seconds.attrs["incomplete"] == [span(at(minutes=4), at(minutes=4, seconds=1))]


def test_a_bar_without_trades_is_empty(market: MarketData, tape: Tape):
    tape.write_trades(random_trades(START, 100, span=timedelta(minutes=1)), (START, at(minutes=3)))
    found = candles(market, tape, "1m", START, at(minutes=3))
    assert len(found) == 1
    assert found.attrs["empty"] == [span(at(minutes=1), at(minutes=3))]


def test_the_frame_has_the_documented_shape(market: MarketData, tape: Tape):
    tape.connection.execute(
        "update instrument set trade_unit = 'contract' where instrument_id = %s", (tape.instrument_id,)
    )
    tape.write_trades(random_trades(START, 100, span=timedelta(minutes=1)), (START, at(minutes=1)))
    for found in (candles(market, tape, "1m", START), candles(market, tape, "1m", at(days=-1), START)):
        assert (found.index.name, str(found.index.dtype)) == ("time", "datetime64[us, UTC]")
        assert {str(name): str(dtype) for name, dtype in found.dtypes.items()} == {
            **dict.fromkeys(COLUMNS, "float64"),
            "trades": "int64",
            **dict.fromkeys(("bought", "sold"), "float64"),
        }
        assert found.attrs["amount_unit"] == "contract"


def test_candles_of_the_exchange_do_not_mix_with_those_of_trades(market: MarketData, tape: Tape):
    tape.write_trades(random_trades(START, 100, span=timedelta(minutes=1)), (START, at(minutes=1)))
    tape.cover(START, at(minutes=1))
    assert len(market.candles(tape.exchange, tape.symbol, "1m", START)) == 0
    assert len(candles(market, tape, "1m", START)) == 1


def test_rollups_outlive_their_trades(market: MarketData, tape: Tape):
    start = datetime(2019, 1, 1, tzinfo=UTC)
    stored = random_trades(start, 500, span=timedelta(days=2))
    end, dropped_before = start + timedelta(days=2), start + timedelta(days=1)
    tape.write_trades(stored, (start, end))
    tape.refresh_trade_rollups(start, end)
    tape.connection.execute(
        "delete from trade where instrument_id = %s and time < %s", (tape.instrument_id, dropped_before)
    )
    tape.connection.execute("insert into retention values ('trade', 0, %s)", (dropped_before,))
    try:
        found = candles(market, tape, "1m", start, end)
        tape.connection.execute(
            "insert into stale_rollup (instrument_id, dataset, during) values (%s, 'trade', tstzrange(%s, %s))",
            (tape.instrument_id, start, start + timedelta(hours=1)),
        )
        behind = candles(market, tape, "1m", start, end)
    finally:
        tape.connection.execute("delete from retention where dataset = 'trade'")
    assert_same(found, pandas_trade_bars(stored, "1min"))
    assert (found.attrs["gaps"], found.attrs["dropped_before"]) == ([], None)
    assert_same(behind, found[found.index >= pd.Timestamp(start + timedelta(hours=1))])
    assert behind.attrs["gaps"] == [span(start, start + timedelta(hours=1))]
    assert behind.attrs["dropped_before"] == dropped_before.isoformat()


def test_without_an_end_bars_have_closed_by_now(market: MarketData, tape: Tape):
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=30)
    stored = random_trades(start, 500, span=timedelta(minutes=1))
    tape.write_trades(stored, (start, start + timedelta(minutes=1)))
    found = candles(market, tape, "1s", start)
    as_of = datetime.fromisoformat(found.attrs["as_of"])
    assert_same(found, closed_by(pandas_trade_bars(stored, "1s"), "1s", as_of))


def test_another_source_is_refused(market: MarketData, tape: Tape):
    with pytest.raises(InputError, match="'ticks' is no source: pass \"trades\""):
        market.candles(tape.exchange, tape.symbol, "1m", START, source="ticks")  # pyright: ignore[reportArgumentType] -- that is the test


@pytest.fixture(scope="module")
def an_hour() -> pd.DataFrame:
    return random_trades(START, 2000, span=timedelta(hours=1), seed=5)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    end_s=st.integers(1, 3600),
    back_s=st.integers(1, 3600),
    name=st.sampled_from(["1s", "15s", "1m", "5m"]),
    stale=st.sets(st.integers(0, 59), max_size=3),
)
def test_what_happens_after_the_end_changes_nothing(
    market: MarketData,
    tape: Tape,
    make_tape: Callable[..., Tape],
    an_hour: pd.DataFrame,
    end_s: int,
    back_s: int,
    name: str,
    stale: set[int],
):
    end = at(seconds=end_s)
    tape.write_trades(an_hour, (START, at(hours=1)))
    tape.refresh_trade_rollups(START, at(hours=1))
    for minute in stale:
        tape.connection.execute(
            "insert into stale_rollup (instrument_id, dataset, during) values (%s, 'trade', tstzrange(%s, %s))",
            (tape.instrument_id, at(minutes=minute), at(minutes=minute + 0.3)),
        )
    # An older tape ends where the question does, and its rollups were never made.
    older = make_tape()
    older.write_trades(an_hour[an_hour.index < pd.Timestamp(end)], (START, end))
    window = at(seconds=max(0, end_s - back_s)), end
    assert_same(candles(market, tape, name, *window), candles(market, older, name, *window))
