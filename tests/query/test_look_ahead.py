"""Deleting all that happened after a moment changes no answer at it; and a look-ahead that is planted is found."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tapehouse import MarketData
from tapehouse.query.inference import InferenceDataFrame
from tapehouse.query.spec import Spec
from tapehouse.ranges import TimeRange
from tapehouse.store.delete import delete_rows
from tapehouse.store.features import refresh_features
from tapehouse.store.instruments import CandleSeries
from tapehouse.store.rollups import refresh_rollups
from tapehouse.timeframe import Timeframe
from tests.query.conftest import Tape, pandas_resample, random_bars, random_books, random_trades
from tests.query.moments import all_series, assert_same, write_bars

EXAMPLES = 400 if os.environ.get("TAPEHOUSE_CAMPAIGN") == "full" else 4
START = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=5)
SPAN = timedelta(hours=30)


@dataclass(frozen=True)
class Story:
    """What is stored of a market over some hours, and what is asked of it."""

    seed: int
    at: datetime
    holes: int
    has_hours: bool
    ticks_since: timedelta
    refreshes: bool
    context_window_minutes: float
    as_known: bool


STORIES = st.builds(
    Story,
    seed=st.integers(0, 2**16),
    at=st.integers(0, int(SPAN.total_seconds() * 1000)).map(lambda ms: START + timedelta(milliseconds=ms))
    | st.integers(0, int(SPAN.total_seconds() // 300)).map(lambda steps: START + timedelta(minutes=5 * steps)),
    holes=st.integers(0, 400),
    has_hours=st.booleans(),
    ticks_since=st.timedeltas(timedelta(0), timedelta(hours=1)),
    refreshes=st.booleans(),
    context_window_minutes=st.sampled_from([0.5, 5, 90]),
    as_known=st.booleans(),
)


def tell(tape: Tape, story: Story) -> None:
    """Store what the story says: candles with holes, native hours, and ticks around the moment."""
    rng = np.random.default_rng(story.seed)
    bars = random_bars(START, SPAN // timedelta(minutes=1), seed=story.seed)
    holes = rng.choice(np.arange(1, len(bars)), story.holes, replace=False)
    write_bars(tape, bars.drop(bars.index[holes]), lasting=SPAN)
    if story.has_hours:
        write_bars(tape, pandas_resample(bars, "1h"), "1h")
    start, end = story.at - story.ticks_since, story.at + timedelta(minutes=3)
    tape.write_trades(random_trades(start, 500, span=end - start, seed=story.seed), (start, end))
    books = random_books([start + (end - start) * number / 60 for number in range(60)], seed=story.seed)
    tape.write_books(books, (start, end))
    if story.refreshes:
        refresh_rollups(tape.connection)
    refresh_features(tape.connection)


def check(market: MarketData, tape: Tape, story: Story) -> None:
    before = ask(market, tape, story)
    since = story.at - timedelta(hours=6)
    candles = market.candles(tape.exchange, tape.symbol, "15m", since, story.at)
    # Frames are made when they are asked for.
    before.to_numpy()
    for series in all_series(tape.connection, tape):
        # A candle that had opened but not closed holds what happened later; what happened then did not.
        later = story.at + timedelta(microseconds=1)
        first = series.timeframe.floor(story.at) if isinstance(series, CandleSeries) else later
        delete_rows(tape.connection, series, first, None)
    refresh_features(tape.connection)
    with MarketData.connect(market_url(tape), cache_mb=0) as fresh:
        assert_same(before, ask(fresh, tape, story))
        assert candles.equals(fresh.candles(tape.exchange, tape.symbol, "15m", since, story.at))


def ask(market: MarketData, tape: Tape, story: Story) -> InferenceDataFrame:
    return market.get_inference_data(
        tape.symbol,
        exchange=tape.exchange,
        timestamp=story.at,
        context_window_minutes=story.context_window_minutes,
        as_known=story.as_known,
    )


def market_url(tape: Tape) -> str:
    info = tape.connection.info
    return f"postgresql://{info.user}:{info.password}@{info.host}:{info.port}/{info.dbname}"


@pytest.mark.campaign
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(story=STORIES)
def test_what_happens_later_changes_nothing(market: MarketData, make_tape: Callable[..., Tape], story: Story):
    tape = make_tape()
    tell(tape, story)
    check(market, tape, story)


def test_a_planted_look_ahead_is_found(
    market: MarketData, make_tape: Callable[..., Tape], monkeypatch: pytest.MonkeyPatch
):
    def with_forming_bar(self: Spec, timeframe: Timeframe, at: datetime) -> TimeRange:
        stop = timeframe.ceil(at)
        return stop - self.bars(timeframe) * timeframe.length, stop

    at = START + timedelta(hours=20, minutes=7, seconds=30)
    story = Story(3, at, 0, True, timedelta(minutes=10), False, 5, False)
    told = make_tape()
    tell(told, story)
    check(market, told, story)
    monkeypatch.setattr(Spec, "window", with_forming_bar)
    tape = make_tape()
    tell(tape, story)
    with pytest.raises(AssertionError):
        check(market, tape, story)
