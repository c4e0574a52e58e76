"""Answers from memory equal those of the database, whatever other processes change in between."""

import gc
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import cycle
from typing import IO, Final, TypeAlias

import numpy as np
import pandas as pd
import pytest
from psycopg.types.json import Jsonb
from psycopg.types.multirange import TimestamptzMultirange
from psycopg.types.range import TimestamptzRange

from tapehouse import MarketData
from tapehouse.errors import UnknownSeries, UnknownSymbol
from tapehouse.query.changes import Changes
from tapehouse.query.fill import Fill
from tapehouse.query.inference import InferenceDataFrame
from tapehouse.store.connection import Connection
from tapehouse.store.features import refresh_features
from tests.query.conftest import Tape, random_bars, random_books, random_trades
from tests.query.moments import assert_same, write_bars
from tests.query.writer_process import KINDS, SPAN

CALLS = 10_000 if os.environ.get("TAPEHOUSE_CAMPAIGN") == "full" else 128
CALLS_A_CHANGE = 8
# Said by the test itself after a change, once the change has been heard.
NOBODY = 2**31 - 1
FILLS: Final[Sequence[Fill | None]] = (None, None, "empty", "all")
END = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(minutes=10)


@pytest.fixture
def without_retention(tape: Tape) -> Generator[None]:
    """What the test says of retention holds for all instruments, so that nothing of it may stay."""
    yield
    tape.connection.execute("delete from retention")


@pytest.mark.campaign
@pytest.mark.timeout(7200)
@pytest.mark.usefixtures("without_retention")
def test_what_is_in_memory_is_what_is_stored(market: MarketData, quiet_url: str, tape: Tape):
    rng = np.random.default_rng(11)
    tell_all(tape)
    kinds = cycle(KINDS)
    with (
        MarketData.connect(quiet_url, cache_mb=0) as plain,
        MarketData.connect(quiet_url, cache_mb=0) as guessing,
        writer(quiet_url, tape) as change,
    ):
        calls = 0
        while calls < CALLS:
            change(next(kinds), int(rng.integers(10**9)))
            wait_until_heard(market, tape)
            for _ in range(CALLS_A_CHANGE):
                question = ask_anything(rng, tape)
                forget_guesses(plain)
                expected = question(plain)
                # Twice, so that the second is from memory.
                assert_equal(question(market), expected)
                assert_equal(question(market), expected)
                assert_equal(question(guessing), expected)
                calls += 2
    stats = market.stats().cache
    assert stats.hits > calls // 4
    assert stats.verified > 0
    assert stats.bytes <= stats.most_bytes


def test_what_is_kept_is_bounded(quiet_url: str, tape: Tape):
    write_bars(tape, random_bars(END - timedelta(days=2), 2 * 1440))
    with MarketData.connect(quiet_url, cache_mb=0.1) as market:
        assert market.stats().cache.entries == 0
        market.candles(tape.exchange, tape.symbol, "1m", END - timedelta(hours=1))
        for minutes in range(60, 1440, 10):
            market.candles(tape.exchange, tape.symbol, "1m", END - timedelta(minutes=minutes), END)
        stats = market.stats().cache
        assert 0 < stats.bytes <= 100_000
        assert stats.evictions > 0
        # More than there is room for is read and not kept.
        entries = stats.entries
        assert len(market.candles(tape.exchange, tape.symbol, "1m", END - timedelta(days=2), END)) == 2 * 1440
        assert market.stats().cache.entries == entries


def test_what_is_kept_is_counted(market: MarketData, tape: Tape):
    """Within what Python itself says that it takes: in a quiet process, so that nothing else is counted."""
    write_bars(tape, random_bars(END - timedelta(days=1), 1440))
    tape.write_trades(random_trades(END - timedelta(hours=2), 4000, span=timedelta(hours=2)))
    where = tape.exchange, tape.symbol

    def look(number: int) -> None:
        end = END - timedelta(seconds=20 * number)
        market.get_inference_data(tape.symbol, exchange=tape.exchange, timestamp=end).explain()

    asked: list[Callable[[int], object]] = [
        look,
        lambda number: market.candles(*where, "1m", END - timedelta(minutes=30 + number), END),
        lambda number: market.order_books(*where, END - timedelta(hours=20), END - timedelta(seconds=number)),
    ]
    tape.write_books(random_books([END - timedelta(minutes=1)]), (END - timedelta(minutes=1), END))
    pieces = [
        (END - timedelta(seconds=20 * number), END - timedelta(seconds=20 * number - 1)) for number in range(3000)
    ]
    tape.connection.execute(
        "update coverage set covered = %s where series_id = (select series_id from series"
        " where instrument_id = %s and dataset = 'order_book')",
        (TimestamptzMultirange(TimestamptzRange(*one) for one in pieces), tape.instrument_id),
    )
    for ask in asked:
        # Modules are imported, statements prepared and guesses made once.
        for number in range(3):
            ask(1000 + number)
        gc.collect()
        tracemalloc.start()
        before = market.stats().cache
        for number in range(20):
            ask(number)
        gc.collect()
        taken, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        after = market.stats().cache
        assert after.entries == before.entries + 20
        assert taken / 1.5 < after.bytes - before.bytes < taken * 1.5


def test_a_bot_that_polls_is_answered_from_memory(market: MarketData, tape: Tape):
    tell_all(tape)
    for number in range(300):
        market.candles(tape.exchange, tape.symbol, "1m", datetime.now(UTC) - timedelta(hours=1))
        market.get_inference_data(tape.symbol, exchange=tape.exchange)
        if number % 60 == 30:
            start = END + timedelta(minutes=number // 60)
            tape.write_trades(random_trades(start, 5, span=timedelta(minutes=1)), (start, start + timedelta(minutes=1)))
    assert market.stats().cache.hit_rate > 0.9


@pytest.mark.usefixtures("without_retention")
def test_retention_of_features_is_noticed(market: MarketData, quiet_url: str, tape: Tape):
    old = END - timedelta(days=20)
    tape.write_trades(random_trades(old, 100, span=timedelta(minutes=1)), (old, old + timedelta(minutes=1)))
    tape.write_books(random_books([old + timedelta(seconds=5)]), (old, old + timedelta(minutes=1)))
    write_bars(tape, random_bars(END - timedelta(hours=1), 60))
    refresh_features(tape.connection)
    where = tape.exchange, tape.symbol, old, old + timedelta(minutes=1)
    asked: list[Question] = [lambda one: one.imbalances(*where), lambda one: one.order_book_features(*where)]
    assert all(len(question(market)) for question in asked)  # pyright: ignore[reportArgumentType] -- these are frames
    wait_until_heard(market, tape)
    keep = {"keep": {"imbalance": "10 days", "order_book_1s": "10 days"}}
    tape.connection.execute("call retain_features(0, %s)", (Jsonb(keep),))
    wait_until_heard(market, tape)
    with MarketData.connect(quiet_url, cache_mb=0) as plain:
        for question in asked:
            assert_equal(question(market), question(plain))
        imbalances, features = (question(plain) for question in asked)
    assert isinstance(imbalances, pd.DataFrame)
    assert isinstance(features, pd.DataFrame)
    assert len(imbalances) == len(features) == 0
    for attrs in (features.attrs, imbalances.attrs["order_book"], imbalances.attrs["trade"]):
        assert (attrs["covered"], attrs["gaps"]) == ([], [[old.isoformat(), (old + timedelta(minutes=1)).isoformat()]])
        assert datetime.fromisoformat(attrs["dropped_before"]) > old


def test_a_ledger_that_is_emptied_by_hand_is_noticed(market: MarketData, quiet_url: str, tape: Tape):
    write_bars(tape, random_bars(END - timedelta(hours=6), 300))
    window = tape.exchange, tape.symbol, "1h", END - timedelta(hours=6), END
    assert market.candles(*window).attrs["source"] == "resampled"
    wait_until_heard(market, tape)
    tape.connection.execute("truncate stale_rollup")
    wait_until_heard(market, tape)
    with MarketData.connect(quiet_url, cache_mb=0) as plain:
        assert_equal(market.candles(*window), plain.candles(*window))
    assert market.candles(*window).attrs["source"] == "rollup"


def test_every_ledger_tells_when_it_is_emptied(connection: Connection):
    # In pg_trigger.tgtype 8 stands for deletes and 32 for truncations.
    found = connection.execute(
        "select tgrelid::regclass::text, bool_or(tgtype & 8 > 0), bool_or(tgtype & 32 > 0) from pg_trigger t "
        "join pg_proc p on p.oid = t.tgfoid where p.proname like 'notify%change' group by 1 order by 1"
    ).fetchall()
    tables = ["coverage", "instrument", "retention", "series", "stale_feature", "stale_rollup", "substitute"]
    assert found == [(table, True, True) for table in tables]


def test_an_instrument_that_was_renamed_is_known_no_more(
    market: MarketData, tape: Tape, make_tape: Callable[..., Tape]
):
    other = make_tape()
    for one in (tape, other):
        write_bars(one, random_bars(END - timedelta(hours=6), 300))
    window = tape.exchange, tape.symbol, "1m", END - timedelta(hours=6), END
    assert len(market.candles(*window)) == 300
    wait_until_heard(market, other)
    tape.connection.execute("update instrument set symbol = 'OLD/USDT' where instrument_id = %s", (tape.instrument_id,))
    wait_until_heard(market, other)
    with pytest.raises(UnknownSymbol):
        market.candles(*window)


def test_the_past_of_the_hot_window_is_kept_with_the_present(market: MarketData, tape: Tape):
    tell_all(tape)

    def ask(ago: timedelta | None) -> None:
        at = None if ago is None else datetime.now(UTC) - ago
        market.get_inference_data(tape.symbol, exchange=tape.exchange, timestamp=at)

    ask(None)
    ask(timedelta(minutes=2))
    wait_until_heard(market, tape)
    # What has changed is read again for all that was asked about, whoever asks first.
    moments = market._moments  # pyright: ignore[reportPrivateUsage] -- done by a thread, now or a little later
    tape.cover(END, END + timedelta(minutes=1))
    wait_until_heard(market, tape)
    moments._refresh()  # pyright: ignore[reportPrivateUsage] -- as above
    before = market.stats().cache
    for ago in (timedelta(minutes=2) - timedelta(seconds=10), None, timedelta(minutes=1)):
        ask(ago)
    after = market.stats().cache
    assert (after.hits - before.hits, after.misses - before.misses) == (3, 0)


def test_without_a_voice_every_answer_is_verified(quiet_url: str, tape: Tape, monkeypatch: pytest.MonkeyPatch):
    write_bars(tape, random_bars(END - timedelta(days=1), 1440))
    monkeypatch.setattr(Changes, "start", stay_deaf)
    with MarketData.connect(quiet_url) as market:
        # The first answer tells the time by the server's clock, without which nothing is kept.
        found = [market.candles(tape.exchange, tape.symbol, "5m", END - timedelta(hours=5), END) for _ in range(3)]
        assert (market.stats().cache.hits, market.stats().cache.verified) == (0, 1)
        bars = random_bars(END - timedelta(hours=2), 30, seed=9)
        write_bars(tape, bars)
        changed = market.candles(tape.exchange, tape.symbol, "5m", END - timedelta(hours=5), END)
        assert found[1].equals(found[2])
        assert not changed.equals(found[2])


def forget_guesses(market: MarketData) -> None:
    """Have the next question read the ledger first."""
    market._guesses._ledgers.clear()  # pyright: ignore[reportPrivateUsage] -- a market that is connected anew, but quicker


def stay_deaf(_: Changes) -> None:
    pass


def tell_all(tape: Tape) -> None:
    start = END - SPAN
    write_bars(tape, random_bars(start, SPAN // timedelta(minutes=1)))
    ticks = END - timedelta(hours=2)
    tape.write_trades(random_trades(ticks, 2000, span=END - ticks), (ticks, END))
    tape.write_books(random_books([ticks + timedelta(seconds=20 * number) for number in range(360)]), (ticks, END))


@contextmanager
def writer(url: str, tape: Tape) -> Generator[Callable[[str, int], None]]:
    arguments = [sys.executable, "-m", "tests.query.writer_process", url, tape.exchange, tape.symbol, END.isoformat()]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        said, heard = process.stdin, process.stdout
        assert said
        assert heard

        def change(kind: str, seed: int) -> None:
            _tell(said, heard, f"{kind} {seed}\n")

        yield change
        said.close()


def _tell(said: IO[str], heard: IO[str], line: str) -> None:
    said.write(line)
    said.flush()
    assert heard.readline() == line, "The writing process ended."


def wait_until_heard(market: MarketData, tape: Tape) -> None:
    """Changes are heard in the order in which they were made."""
    changes = market._changes  # pyright: ignore[reportPrivateUsage] -- whether it has heard is of no other use
    # The first question makes it listen.
    market.candles(tape.exchange, tape.symbol, "1m", END - timedelta(hours=1), END)
    while not changes.is_listening:
        changes.wait(0.01)
    moment = changes.moment()
    tape.connection.execute("select pg_notify('tapehouse_change', %s)", (str(NOBODY),))
    while not changes.has_changed(NOBODY, moment):
        changes.wait(0.001)


Answer: TypeAlias = pd.DataFrame | InferenceDataFrame | str
Question: TypeAlias = Callable[[MarketData], Answer]


def ask_anything(rng: np.random.Generator, tape: Tape) -> Question:
    """A question about some past of the market, which is answered or refused."""
    where = tape.exchange, tape.symbol
    end = END - timedelta(seconds=int(rng.integers(SPAN // timedelta(seconds=1) - 600)))
    start = end - timedelta(minutes=int(rng.integers(1, 300)))
    fill = FILLS[int(rng.integers(len(FILLS)))]
    name = str(rng.choice(["1m", "5m", "15m", "1h", "4h"]))
    asked: list[Question] = [
        lambda market: market.candles(*where, name, start, end),
        lambda market: market.candles(*where, name, start, end, fill=fill),
        lambda market: market.candles(*where, "1m", start, end, source="trades"),
        lambda market: market.trades(*where, start, end),
        lambda market: market.order_books(*where, start, end, depth=5),
        lambda market: market.order_book_features(*where, start, end),
        lambda market: market.imbalances(*where, start, end),
        lambda market: market.get_inference_data(tape.symbol, exchange=tape.exchange, timestamp=end),
        lambda market: market.get_inference_data(tape.symbol, exchange=tape.exchange, timestamp=END),
    ]
    question = asked[int(rng.integers(len(asked)))]

    def answer(market: MarketData) -> Answer:
        try:
            return question(market)
        except UnknownSeries as refused:
            return str(refused)

    return answer


def assert_equal(left: Answer, right: Answer) -> None:
    if isinstance(left, pd.DataFrame):
        assert isinstance(right, pd.DataFrame)
        pd.testing.assert_frame_equal(left, right, check_exact=True)
        clocks = {"as_of"}
        assert {name: value for name, value in left.attrs.items() if name not in clocks} == {
            name: value for name, value in right.attrs.items() if name not in clocks
        }
    elif isinstance(left, str):
        assert left == right
    else:
        assert isinstance(right, InferenceDataFrame)
        assert_same(left, right)
