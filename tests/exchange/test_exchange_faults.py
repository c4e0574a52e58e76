"""What each fault of an exchange becomes, over real HTTP and through real ccxt."""

import asyncio
import socket
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from tapehouse.errors import (
    BadPage,
    ExchangeError,
    InputError,
    PermanentError,
    RateLimited,
    RetryableError,
    UnknownExchange,
    UnknownSymbol,
    UnknownTimeframe,
)
from tapehouse.exchange import Exchange, RetryPolicy, open_exchange
from tapehouse.sandbox import Fault, Sandbox
from tapehouse.timeframe import timeframe
from tests.exchange.conftest import NOW_MS, Open

NOW = datetime.fromtimestamp(NOW_MS / 1000, UTC)
ONE_MINUTE = timeframe("1m")


async def fetch(exchange: Exchange, symbol: str = "BTC/USDT", minutes: int = 30) -> list[object]:
    start = ONE_MINUTE.floor(NOW) - timedelta(minutes=minutes)
    pages = [page async for page in exchange.candle_pages(symbol, ONE_MINUTE, start, NOW)]
    return [row for page in pages for row in page.rows]


STATUSES = [
    (429, RateLimited, "asks for fewer requests"),
    (418, RateLimited, "asks for fewer requests"),
    (451, PermanentError, "geo block"),
    (403, PermanentError, "geo block"),
    (401, PermanentError, "credentials"),
    (400, PermanentError, "refused the request"),
    (404, PermanentError, "refused the request"),
    (408, RetryableError, "try again later"),
    (500, RetryableError, "try again later"),
    (502, RetryableError, "try again later"),
    (503, RetryableError, "try again later"),
    (504, RetryableError, "try again later"),
]


@pytest.mark.parametrize(("status", "error", "says"), STATUSES)
async def test_a_status_becomes_one_of_our_errors(
    sandbox: Sandbox, open_on: Open, status: int, error: type[ExchangeError], says: str
):
    exchange = await open_on("binance", attempts=2)
    sandbox.faults.add(Fault("status", status=status, path="klines", retry_after_s=7))
    with pytest.raises(error, match=says) as raised:
        await fetch(exchange)
    assert type(raised.value) is error
    assert str(status) in str(raised.value)
    assert exchange.retries == (1 if issubclass(error, RetryableError) else 0)
    if isinstance(raised.value, RateLimited):
        assert raised.value.retry_after_s == 7


@pytest.mark.parametrize("exchange_id", ["binance", "kraken"])
@pytest.mark.parametrize("kind", ["html", "broken_json", "empty_body"])
async def test_a_200_that_is_no_json_is_a_bad_page_not_an_empty_one(
    sandbox: Sandbox, open_on: Open, exchange_id: str, kind: Any
):
    exchange = await open_on(exchange_id, attempts=2)
    symbol = "BTC/USDT" if exchange_id == "binance" else "BTC/USD"
    await exchange.now()
    await exchange.listing(symbol)
    sandbox.faults.add(Fault(kind))
    with pytest.raises(BadPage, match="status 200"):
        await fetch(exchange, symbol)


@pytest.mark.parametrize("kind", ["status", "html", "broken_json", "empty_body", "drop"])
async def test_faults_that_pass_cost_retries_and_no_rows(sandbox: Sandbox, open_on: Open, kind: Any):
    exchange = await open_on("binance")
    sandbox.faults.add(Fault(kind, count=3, path="klines"))
    assert len(await fetch(exchange)) == 30
    # aiohttp itself asks again where a kept connection turns out to be closed.
    assert exchange.retries == 3 if kind != "drop" else 1 <= exchange.retries <= 3


async def test_loading_the_markets_is_retried_too(sandbox: Sandbox, open_on: Open):
    exchange = await open_on("binance")
    sandbox.faults.add(Fault("html", count=1, path="exchangeInfo"))
    assert len(await exchange.listings()) == len([m for m in sandbox.markets if m.exchange.startswith("binance")])
    assert exchange.retries == 1


async def test_a_hang_ends_with_the_time_out(sandbox: Sandbox, open_on: Open):
    exchange = await open_on("binance", timeout_s=0.2, attempts=2)
    await exchange.now()
    await exchange.listings()
    sandbox.faults.add(Fault("hang", path="klines"))
    with pytest.raises(RetryableError, match="RequestTimeout"):
        await fetch(exchange)


async def test_an_address_where_nobody_answers_is_retryable():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    quick = RetryPolicy(attempts=2, base_s=0.001)
    async with open_exchange("kraken", base_url=f"http://127.0.0.1:{port}", retry=quick) as exchange:
        with pytest.raises(RetryableError, match="ExchangeNotAvailable"):
            await exchange.now()
        assert (exchange.requests, exchange.retries) == (2, 1)


@pytest.mark.parametrize("kind", ["status", "html", "drop", "hang", "broken_json"])
async def test_messages_are_one_short_line_without_query_or_markup(sandbox: Sandbox, open_on: Open, kind: Any):
    exchange = await open_on("binance", timeout_s=0.5, attempts=1)
    await exchange.now()
    await exchange.listings()
    sandbox.faults.add(Fault(kind, path="klines"))
    with pytest.raises(RetryableError) as raised:
        await fetch(exchange)
    message = str(raised.value)
    assert len(message) < 300
    assert not {"\n", "<", "?"} & set(message)
    assert message.startswith("binance ")


async def test_a_retry_after_is_waited_for_by_all_who_share_the_exchange(sandbox: Sandbox):
    patient = RetryPolicy(attempts=3, base_s=0.0, cap_s=0.4)
    async with open_exchange("binance", base_url=sandbox.url, retry=patient) as exchange:
        await exchange.now()
        await exchange.listings()
        sandbox.faults.add(Fault("status", status=429, retry_after_s=60, count=1, path="klines"))
        first = asyncio.create_task(fetch(exchange))
        while exchange.retries == 0:  # noqa: ASYNC110 -- the border sets no event for tests
            await asyncio.sleep(0.001)
        refused_at = sandbox.requests[-1].at
        await asyncio.gather(first, fetch(exchange))
    later = [asked.at for asked in sandbox.requests if asked.at > refused_at]
    assert len(later) == 2
    # cap_s bounds the exchange's 60 s; a slow machine only makes the pause longer.
    assert all(at - refused_at >= timedelta(seconds=0.35) for at in later)


async def test_unknown_names_are_refused_with_the_closest_ones(open_on: Open):
    with pytest.raises(UnknownExchange, match="binance"):
        await open_on("binanse")
    exchange = await open_on("binance")
    with pytest.raises(UnknownSymbol, match="BTC/USDT"):
        await fetch(exchange, "BTCUSDT")
    with pytest.raises(UnknownTimeframe, match="use 1s, 1m"):
        async for _ in exchange.candle_pages("BTC/USDT", timeframe("45m"), NOW - timedelta(1), NOW):
            pass


async def test_a_base_url_that_is_none_is_refused():
    with pytest.raises(InputError):
        async with open_exchange("binance", base_url="nowhere"):
            pass


ODD_ANSWERS = [
    ("{}", BadPage),
    ("[]", BadPage),
    ("null", BadPage),
    ('"text"', BadPage),
    ("7", BadPage),
    ("[" * 50_000 + "]" * 50_000, BadPage),
    ('{"error":["EGeneral:Internal error"]}', RetryableError),
    ('{"error":["EService:Unavailable"]}', RetryableError),
    ('{"error":["EAPI:Rate limit exceeded"]}', RateLimited),
    ('{"error":["EQuery:Unknown asset pair"]}', PermanentError),
    ('{"error":["EGeneral:Invalid arguments"]}', PermanentError),
    ('{"error":[],"result":{"XXBTZUSD":7}}', BadPage),
    ('{"error":[],"result":7}', BadPage),
    ('{"error":7,"result":{}}', BadPage),
]


@pytest.mark.parametrize(("body", "error"), ODD_ANSWERS, ids=[body[:40] for body, _ in ODD_ANSWERS])
async def test_an_odd_answer_with_status_200_becomes_one_of_our_errors(body: str, error: type[ExchangeError]):
    with _answering(200, body) as base_url, pytest.raises(error) as raised:
        await load_kraken(base_url)
    assert type(raised.value) is error


@pytest.mark.parametrize(
    ("status", "error"), [(404, PermanentError), (414, PermanentError), (409, RetryableError), (503, RetryableError)]
)
async def test_a_status_counts_though_the_body_is_json(status: int, error: type[ExchangeError]):
    with _answering(status, '{"message":"no"}') as base_url, pytest.raises(error) as raised:
        await load_kraken(base_url)
    assert type(raised.value) is error


async def test_a_connection_that_breaks_in_mid_body_is_retryable():
    with _answering(200, '{"error":[]', withheld_bytes=50) as base_url, pytest.raises(RetryableError) as raised:
        await load_kraken(base_url)
    assert type(raised.value) is RetryableError


async def load_kraken(base_url: str) -> None:
    async with open_exchange("kraken", base_url=base_url, retry=RetryPolicy(attempts=1)) as exchange:
        await exchange.listings()


@contextmanager
def _answering(status: int, body: str, *, withheld_bytes: int = 0) -> Generator[str]:
    """The address of a server that gives every request the same answer, and may announce more than it sends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            payload = body.encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload) + withheld_bytes))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
