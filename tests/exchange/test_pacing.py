"""How ccxt's requests are paced, and how a shared budget is spent; times are only ever bounded from below."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from uuid import uuid4

import pytest
import pytest_asyncio

from tapehouse.errors import NotMigrated
from tapehouse.exchange import RetryPolicy, open_exchange
from tapehouse.exchange.pacing import SharedPacer
from tapehouse.ingest.venue import ThreadedBudget
from tapehouse.sandbox import Fault, Sandbox
from tapehouse.store.budget import RateBudget
from tapehouse.timeframe import from_ms, timeframe
from tests.exchange.conftest import NOW_MS

# A request may be sent that much after its slot began, and slices begin a little later than they seem to.
TOLERANCE_S = 0.1


class Recorder:
    """A pacer that lets all pass at once and keeps what it was asked."""

    def __init__(self) -> None:
        self.passed_ms: list[float] = []
        self.quiet_s: list[float] = []

    async def pass_(self, milliseconds: float) -> None:
        self.passed_ms.append(milliseconds)

    async def quiet(self, seconds: float) -> None:
        self.quiet_s.append(seconds)


class CountedBudget(ThreadedBudget):
    """A budget in the database that counts the reservations."""

    reservations = 0

    async def reserve(self, seconds: float) -> tuple[float, bool]:
        self.reservations += 1
        return await super().reserve(seconds)


MakePacer = Callable[..., tuple[SharedPacer, CountedBudget]]


@pytest_asyncio.fixture
async def make_pacer(store_url: str) -> AsyncIterator[MakePacer]:
    """Pacers of an exchange that no other test uses, each as a process of its own would have it."""
    exchange = f"exchange-{uuid4().hex[:12]}"
    made: list[tuple[SharedPacer, CountedBudget]] = []

    def make(url: str = store_url) -> tuple[SharedPacer, CountedBudget]:
        budget = CountedBudget(RateBudget(url, exchange, ""))
        made.append((SharedPacer(exchange, budget), budget))
        return made[-1]

    yield make
    for pacer, budget in made:
        await pacer.close()
        budget.close()


async def pass_all(pacer: SharedPacer, *milliseconds: float) -> float:
    """How long it took until all had passed, in seconds."""
    began_s = time.monotonic()
    await asyncio.gather(*(pacer.pass_(one) for one in milliseconds))
    return time.monotonic() - began_s


@pytest.mark.parametrize(
    ("exchange_id", "symbol", "milliseconds"),
    [
        # Binance allows a weight of 6000 a minute, and a page of candles weighs 2.
        ("binance", "BTC/USDT", 20),
        # Kraken counts one request a second; ccxt takes a fifth more time for candles.
        ("kraken", "BTC/USD", 1200),
        # Coinbase allows 10 requests a second.
        ("coinbaseexchange", "BTC/USD", 100),
    ],
)
async def test_a_request_takes_what_it_costs_of_the_exchanges_time(
    sandbox: Sandbox, exchange_id: str, symbol: str, milliseconds: float
):
    recorder, now = Recorder(), from_ms(NOW_MS)
    async with open_exchange(exchange_id, base_url=sandbox.url, pacer=recorder) as exchange:
        pages = exchange.candle_pages(symbol, timeframe("1m"), now - timedelta(minutes=9), now)
        assert [len(page.rows) async for page in pages]
        assert recorder.passed_ms[-1] == pytest.approx(milliseconds)
        assert len(recorder.passed_ms) == exchange.requests


@pytest.mark.parametrize("status", [418, 429])
async def test_all_are_told_for_how_long_an_exchange_wants_quiet(sandbox: Sandbox, status: int):
    recorder = Recorder()
    retry = RetryPolicy(attempts=2, base_s=0.001, cap_s=2)
    async with open_exchange("binance", base_url=sandbox.url, retry=retry, pacer=recorder) as exchange:
        sandbox.faults.add(Fault("status", path="time", status=status, retry_after_s=1, count=1))
        await exchange.now()
    assert len(recorder.quiet_s) == 1
    assert 1 <= recorder.quiet_s[0] <= 1.001


async def test_an_exchange_that_names_no_time_keeps_only_this_connection_waiting(sandbox: Sandbox):
    recorder = Recorder()
    retry = RetryPolicy(attempts=2, base_s=0.001)
    async with open_exchange("binance", base_url=sandbox.url, retry=retry, pacer=recorder) as exchange:
        sandbox.faults.add(Fault("status", path="time", status=429, count=1))
        await exchange.now()
    assert len(recorder.passed_ms) == 2
    assert recorder.quiet_s == []


async def test_requests_pass_in_the_order_they_came(make_pacer: MakePacer):
    pacer, _ = make_pacer()
    passed: list[int] = []

    async def one(number: int) -> None:
        # Some take more than a whole slice.
        await pacer.pass_(400 if number == 3 else 5 * (number % 3))
        passed.append(number)

    # What takes no time waits for nobody.
    await asyncio.gather(*(one(number) for number in range(12) if number % 3 or number == 3))
    assert passed == [1, 2, 3, 4, 5, 7, 8, 10, 11]


async def test_requests_pass_no_faster_than_the_pace(make_pacer: MakePacer):
    pacer, _ = make_pacer()
    # The last one's slot begins when 19 have had theirs.
    assert await pass_all(pacer, *[50] * 20) > 19 * 0.050 - TOLERANCE_S


async def test_processes_keep_the_pace_together(make_pacer: MakePacer):
    pacers = [make_pacer()[0] for _ in range(3)]
    took_s = await asyncio.gather(*(pass_all(pacer, *[50] * 10) for pacer in pacers))
    assert max(took_s) > 29 * 0.050 - TOLERANCE_S


async def test_lost_time_is_not_caught_up(make_pacer: MakePacer):
    pacer, _ = make_pacer()
    await pacer.pass_(50)
    await asyncio.sleep(0.5)
    assert await pass_all(pacer, *[50] * 10) > 9 * 0.050 - TOLERANCE_S


async def test_a_reservation_serves_many_requests(make_pacer: MakePacer):
    pacer, budget = make_pacer()
    await pass_all(pacer, *[2] * 200)
    assert budget.reservations < 20


async def test_nothing_is_reserved_while_nothing_waits(make_pacer: MakePacer):
    pacer, budget = make_pacer()
    for _ in range(5):
        await pacer.pass_(20)
    before = budget.reservations
    await asyncio.sleep(0.4)
    assert 1 <= budget.reservations == before


async def test_quiet_holds_for_all_processes(make_pacer: MakePacer):
    first, second = make_pacer()[0], make_pacer()[0]
    # They hold slices already, of which the one that was told makes no use any more.
    await asyncio.gather(pass_all(first, *[5] * 5), pass_all(second, *[5] * 5))
    waiting = asyncio.create_task(pass_all(first, *[200] * 2))
    await asyncio.sleep(0)
    await first.quiet(0.6)
    took_s = await asyncio.gather(waiting, pass_all(second, *[200] * 2))
    assert min(took_s) > 0.6 - TOLERANCE_S


async def test_what_is_cancelled_keeps_nobody_waiting(make_pacer: MakePacer):
    pacer, _ = make_pacer()
    waiting = [asyncio.create_task(pacer.pass_(30)) for _ in range(12)]
    await waiting[0]
    # The next in line, who may have a slot already, and some that have not.
    for number in (1, 4, 5, 11):
        waiting[number].cancel()
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert [number for number, outcome in enumerate(done) if outcome is not None] == [1, 4, 5, 11]
    await pacer.pass_(30)


async def test_requests_pass_slowly_while_the_database_is_out_of_reach(
    make_pacer: MakePacer, unused_tcp_port: int, caplog: pytest.LogCaptureFixture
):
    pacer, _ = make_pacer(f"postgresql://nobody@127.0.0.1:{unused_tcp_port}/nowhere")
    with caplog.at_level(logging.WARNING, logger="tapehouse.exchange.pacing"):
        assert await pass_all(pacer, *[20] * 6) > 4 * 5 * 0.020 - TOLERANCE_S
        await pacer.quiet(0.1)
    assert "is asked at a quarter of its pace" in caplog.messages[0]
    assert "Other processes are not told" in caplog.messages[-1]


async def test_a_database_without_budgets_is_said_to_all_that_wait(make_pacer: MakePacer, store_url: str):
    separator = "&" if "?" in store_url else "?"
    pacer, _ = make_pacer(f"{store_url}{separator}options=-csearch_path%3Dpg_catalog")
    outcomes = await asyncio.gather(*(pacer.pass_(20) for _ in range(3)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [NotMigrated] * 3


async def test_nothing_passes_once_it_is_closed(make_pacer: MakePacer):
    pacer, _ = make_pacer()
    waiting = [asyncio.create_task(pacer.pass_(1000)) for _ in range(3)]
    await waiting[0]
    await pacer.close()
    outcomes = await asyncio.gather(*waiting[1:], return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError] * 2
