import asyncio
import inspect
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import pandas as pd
import pytest

import tapehouse
from tapehouse import AsyncMarketData, InferenceDataFrame, MarketData
from tapehouse.errors import InputError, NaiveDatetime, StoreUnreachable
from tapehouse.query.cache import CacheStats
from tapehouse.query.reader import MOST_CONNECTIONS, Reader
from tapehouse.query.twin import TWIN, twin
from tapehouse.store.features import refresh_features
from tests.query.conftest import Tape, random_bars, random_books, random_trades
from tests.query.moments import assert_same, write_bars

END = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=2)
START = END - timedelta(hours=2)
TICKS = END - timedelta(minutes=10)

# What is asked of a market of either kind; the asynchronous one gives an awaitable.
Question: TypeAlias = Callable[[Any, Tape], Any]

QUESTIONS: dict[str, Question] = {
    "candles": lambda market, tape: market.candles(tape.exchange, tape.symbol, "1m", START, END),
    "candles built": lambda market, tape: market.candles(tape.exchange, tape.symbol, "15m", START, END, fill="all"),
    "candles of trades": lambda market, tape: market.candles(
        tape.exchange, tape.symbol, "5s", TICKS, END, source="trades"
    ),
    "trades": lambda market, tape: market.trades(tape.exchange, tape.symbol, TICKS, END),
    "order_book": lambda market, tape: market.order_book(tape.exchange, tape.symbol, END, depth=5),
    "order_books": lambda market, tape: market.order_books(tape.exchange, tape.symbol, TICKS, END, depth=3),
    "order_book_features": lambda market, tape: market.order_book_features(tape.exchange, tape.symbol, TICKS, END),
    "imbalances": lambda market, tape: market.imbalances(tape.exchange, tape.symbol, TICKS, END),
    "instruments": lambda market, tape: market.instruments(tape.exchange),
    "gaps": lambda market, tape: market.gaps(tape.exchange, tape.symbol, end=END),
    "coverage": lambda market, tape: market.coverage(tape.exchange),
    "moment": lambda market, tape: market.get_inference_data(tape.symbol, exchange=tape.exchange, timestamp=END),
    "asof": lambda market, tape: market.asof(iter([START, END]), (tape.exchange, tape.symbol, "1m")),
}


@pytest.fixture
async def async_market(quiet_url: str) -> AsyncIterator[AsyncMarketData]:
    async with AsyncMarketData.connect(quiet_url) as market:
        yield market


@pytest.fixture
def make_stored(make_tape: Callable[..., Tape]) -> Callable[[int], Tape]:
    """Markets of which something of everything is stored."""

    def make(seed: int) -> Tape:
        tape = make_tape()
        write_bars(tape, random_bars(START, 120, seed=seed))
        tape.write_trades(random_trades(TICKS, 500, span=END - TICKS, seed=seed), (TICKS, END))
        tape.write_books(random_books([TICKS + timedelta(seconds=10 * n) for n in range(60)], seed=seed), (TICKS, END))
        refresh_features(tape.connection)
        return tape

    return make


@pytest.fixture
def stored(make_stored: Callable[[int], Tape]) -> Tape:
    return make_stored(0)


def assert_equal(left: object, right: object) -> None:
    """Both answers are the same, but for how long ago something was."""
    if isinstance(left, InferenceDataFrame) and isinstance(right, InferenceDataFrame):
        assert_same(left, right)
        return
    assert isinstance(left, pd.DataFrame)
    assert isinstance(right, pd.DataFrame)
    left, right = (frame.drop(columns="age_s", errors="ignore") for frame in (left, right))
    pd.testing.assert_frame_equal(left, right, check_exact=True)


def test_the_twin_is_what_is_generated_from_the_original():
    assert TWIN.read_text(encoding="utf-8") == twin(), "run `make generate`"


@pytest.mark.parametrize("name", [name for name in vars(MarketData) if not name.startswith("_")])
def test_every_method_has_its_twin(name: str):
    original, awaited = getattr(MarketData, name), getattr(AsyncMarketData, name)
    assert inspect.signature(awaited).parameters == inspect.signature(original).parameters
    assert name == "close" or inspect.getdoc(awaited) == inspect.getdoc(original)
    assert inspect.iscoroutinefunction(awaited) == (name not in ("connect", "iter_inference_data"))


def test_the_package_has_all_that_it_names():
    assert {getattr(tapehouse, name).__name__ for name in tapehouse.__all__} == set(tapehouse.__all__)


@pytest.mark.parametrize("name", QUESTIONS)
async def test_answers_are_those_of_the_original(
    market: MarketData, async_market: AsyncMarketData, stored: Tape, name: str
):
    expected = QUESTIONS[name](market, stored)
    for _ in range(2):
        assert_equal(await QUESTIONS[name](async_market, stored), expected)


async def test_how_it_is_doing_can_be_asked(async_market: AsyncMarketData):
    assert (await async_market.health()).postgresql
    stats = await async_market.stats()
    assert isinstance(stats.cache, CacheStats)
    assert stats.reads.queries == 1


async def test_senseless_questions_are_refused(async_market: AsyncMarketData):
    with pytest.raises(NaiveDatetime):
        await async_market.candles("binance", "BTC/USDT", "1m", START.replace(tzinfo=None))
    with pytest.raises(InputError, match="no context window"):
        async_market.iter_inference_data("BTC/USDT", [], exchange="binance", context_window_minutes=0)


class Watch:
    """Counts the reads that run at the same time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.most = self._running = 0
        lock, read = threading.Lock(), Reader._try  # pyright: ignore[reportPrivateUsage] -- nothing public is a single read

        def watched(reader: Reader, *args: Any) -> Any:
            with lock:
                self._running += 1
                self.most = max(self.most, self._running)
            try:
                return read(reader, *args)
            finally:
                with lock:
                    self._running -= 1

        monkeypatch.setattr(Reader, "_try", watched)


@pytest.mark.parametrize("cache_mb", [0, 256])
async def test_200_tasks_get_their_own_answers_over_the_connections_there_are(
    market: MarketData,
    quiet_url: str,
    make_stored: Callable[[int], Tape],
    monkeypatch: pytest.MonkeyPatch,
    cache_mb: float,
):
    tapes = [make_stored(seed) for seed in range(3)]
    asked = [(question, tape) for question in QUESTIONS.values() for tape in tapes]
    expected = [question(market, tape) for question, tape in asked]
    watch = Watch(monkeypatch)
    async with AsyncMarketData.connect(quiet_url, cache_mb=cache_mb) as async_market:
        which = [number % len(asked) for number in range(200)]
        found = await asyncio.gather(*(asked[one][0](async_market, asked[one][1]) for one in which))
        pool = async_market._market._reader._pool.get_stats()  # pyright: ignore[reportPrivateUsage] -- nothing public tells
    for one, answer in zip(which, found, strict=True):
        assert_equal(answer, expected[one])
    assert 1 < watch.most <= MOST_CONNECTIONS
    assert pool["pool_size"] <= MOST_CONNECTIONS
    assert pool.get("requests_errors", 0) == 0


def test_8_threads_get_their_own_answers(market: MarketData, quiet_url: str, make_stored: Callable[[int], Tape]):
    tapes = [make_stored(seed) for seed in range(3)]
    asked = [(question, tape) for question in QUESTIONS.values() for tape in tapes]
    expected = [question(market, tape) for question, tape in asked]
    with MarketData.connect(quiet_url) as shared, ThreadPoolExecutor(8) as threads:

        def ask(number: int) -> object:
            question, tape = asked[number % len(asked)]
            return question(shared, tape)

        for number, answer in enumerate(threads.map(ask, range(200))):
            assert_equal(answer, expected[number % len(asked)])


async def test_what_is_in_memory_needs_no_thread_and_leaves_others_their_turn(
    async_market: AsyncMarketData, stored: Tape
):
    ask = QUESTIONS["moment"]
    async with asyncio.timeout(60):
        while not (await async_market.stats()).cache.hits:
            await ask(async_market, stored)
    async_market._threads.shutdown()  # pyright: ignore[reportPrivateUsage] -- so that none can be used
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    for _ in range(5):
        await ask(async_market, stored)
    counting.cancel()
    assert turns >= 4


async def test_cancelling_some_disturbs_no_others(quiet_url: str, market: MarketData, stored: Tape):
    expected = {name: question(market, stored) for name, question in QUESTIONS.items()}
    async with AsyncMarketData.connect(quiet_url, cache_mb=0) as async_market:
        names = list(QUESTIONS) * 4
        tasks = [asyncio.create_task(QUESTIONS[name](async_market, stored)) for name in names]
        for number in range(0, len(tasks), 3):
            await asyncio.sleep(0.002)
            tasks[number].cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        for number, (name, answer) in enumerate(zip(names, found, strict=True)):
            if number % 3 or not isinstance(answer, asyncio.CancelledError):
                assert_equal(answer, expected[name])
        assert any(isinstance(answer, asyncio.CancelledError) for answer in found)
        assert_equal(await QUESTIONS["trades"](async_market, stored), expected["trades"])


async def test_moments_are_iterated_as_by_the_original(market: MarketData, async_market: AsyncMarketData, stored: Tape):
    moments = [START + timedelta(minutes=10 * number) for number in range(12)]
    moments += [moments[0] - timedelta(hours=5), moments[3]]
    expected = list(market.iter_inference_data(stored.symbol, moments, exchange=stored.exchange))
    found = [
        one async for one in async_market.iter_inference_data(stored.symbol, iter(moments), exchange=stored.exchange)
    ]
    assert [at for at, _ in found] == moments
    for (_, left), (_, right) in zip(found, expected, strict=True):
        assert_same(left, right)


async def test_an_error_among_moments_comes_behind_those_before(async_market: AsyncMarketData, stored: Tape):
    moments = [START, END, START - timedelta(hours=5), END + timedelta(days=30)]
    found: list[datetime] = []

    async def iterate() -> None:
        async for at, _ in async_market.iter_inference_data(stored.symbol, moments, exchange=stored.exchange):
            found.append(at)

    with pytest.raises(InputError, match="has not come yet"):
        await iterate()
    # As of the original: the first run of moments was read before the last one was looked at.
    assert found == [START, END]


async def test_closing_waits_for_what_was_asked(quiet_url: str, market: MarketData, stored: Tape):
    async_market = await AsyncMarketData.connect(quiet_url, cache_mb=0)
    tasks = [asyncio.create_task(QUESTIONS["trades"](async_market, stored)) for _ in range(30)]
    await asyncio.sleep(0)
    await async_market.close()
    expected = QUESTIONS["trades"](market, stored)
    for task in tasks:
        assert_equal(await task, expected)


async def test_a_closed_market_says_so(quiet_url: str, stored: Tape):
    async with AsyncMarketData.connect(quiet_url) as async_market:
        await QUESTIONS["moment"](async_market, stored)
    for question in QUESTIONS.values():
        with pytest.raises(StoreUnreachable, match="This AsyncMarketData is closed: connect a new one"):
            await question(async_market, stored)
    with pytest.raises(StoreUnreachable, match="is closed"):
        await anext(async_market.iter_inference_data(stored.symbol, [END], exchange=stored.exchange))
    await async_market.close()


async def test_a_wrong_address_fails_at_once():
    with pytest.raises(StoreUnreachable, match="No database answers at"):
        await AsyncMarketData.connect("postgresql://127.0.0.1:1/tapehouse")


async def test_a_connection_that_nobody_waits_for_any_more_is_closed(quiet_url: str, monkeypatch: pytest.MonkeyPatch):
    connect, close, closed = MarketData.connect, MarketData.close, threading.Event()

    def connect_slowly(*args: Any, **options: Any) -> MarketData:
        time.sleep(0.3)
        return connect(*args, **options)

    def close_and_tell(market: MarketData) -> None:
        close(market)
        closed.set()

    monkeypatch.setattr(MarketData, "connect", connect_slowly)
    monkeypatch.setattr(MarketData, "close", close_and_tell)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await AsyncMarketData.connect(quiet_url)
    assert await asyncio.to_thread(closed.wait, 60)
