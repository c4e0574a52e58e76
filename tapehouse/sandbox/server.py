"""The sandbox exchange's server: HTTP and WebSocket on 127.0.0.1 in a thread of its own, faults, limits, the record.

What exchanges answer is `tapehouse.sandbox.dialects`; the control endpoint is `tapehouse.sandbox.control`.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self

from aiohttp import web

from tapehouse.config import SANDBOX_HEADER
from tapehouse.errors import InputError, ServiceError
from tapehouse.sandbox.answer import Answer, Ask, BookPage, Page, Refused, json_answer
from tapehouse.sandbox.burst import BurstHistory
from tapehouse.sandbox.clock import ReplayClock, wall_clock_ms
from tapehouse.sandbox.control import CONTROL_HOST, control
from tapehouse.sandbox.damage import damage, strikes
from tapehouse.sandbox.dialects import Dialect, dialects, stream_dialects
from tapehouse.sandbox.faults import RESPONSE_FAULTS, ROW_FAULTS, Fault, Faults
from tapehouse.sandbox.feeds import StreamDialect
from tapehouse.sandbox.market import Market
from tapehouse.sandbox.record import Asked, Record
from tapehouse.sandbox.spoiling import spoilt
from tapehouse.sandbox.streams import Stream

_BURST_TRADES: Final = 50_000


class Sandbox:
    """A local server that answers as real exchanges do, at `<url>/<original host>/<path>`.

    `limits` maps an exchange to its request limit where the real one does not serve: weight a
    minute on Binance, requests at once on Kraken and Coinbase Exchange, a window on the others
    (one second on Coinbase, two on OKX, five on Bybit). `clock_ms` is the exchanges' clock.
    `page_rows` caps every page of trades, whatever limit is asked for; candles keep to their
    exchange's rule, which clients need to tell an empty interval from one not served.
    """

    def __init__(
        self,
        markets: Sequence[Market],
        *,
        port: int = 0,
        latency_ms: float = 0,
        limits: Mapping[str, int] | None = None,
        clock_ms: Callable[[], int] | None = None,
        page_rows: int | None = None,
    ) -> None:
        if page_rows is not None and page_rows < 1:
            raise InputError(f"Pages of {page_rows} rows make no sense: give page_rows of 1 or more.")
        self.markets = list(markets)
        self.faults = Faults()
        self.latency_ms = latency_ms
        self._port = port
        self._page_rows = page_rows
        self._clock_ms = clock_ms or wall_clock_ms
        self._limits = limits or {}
        self._dialects: dict[str, Dialect] = {}
        self._streams: dict[str, StreamDialect] = {}
        self._list_markets()
        self._record = Record()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="tapehouse-sandbox", daemon=True)

    @property
    def url(self) -> str:
        """The address that goes before the original host."""
        return f"http://127.0.0.1:{self._port}"

    def change_market(
        self,
        exchange: str,
        symbol: str,
        *,
        listed: bool | None = None,
        active: bool | None = None,
        price_decimals: int | None = None,
        amount_decimals: int | None = None,
    ) -> None:
        """Let an exchange list a market or not, or announce it otherwise, from the next request on.

        Its history stays as it is, its numbers included. Raises InputError where there is no such market.
        """
        given = {
            "listed": listed,
            "active": active,
            "price_decimals": price_decimals,
            "amount_decimals": amount_decimals,
        }
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        for place in self._places_of(exchange, symbol):
            self.markets[place] = replace(self.markets[place], **changes)
        self._list_markets()

    def burst(self, exchange: str, symbol: str, *, trades: int = _BURST_TRADES) -> None:
        """Let so many trades happen on a market within this millisecond of the exchange's clock.

        Their ids go on from the last; those of all later trades move on by as many. Raises InputError where
        there is no such market, or where it has no trade yet.
        """
        if self._loop is None:
            self._burst(exchange, symbol, trades)
            return

        async def between_messages() -> None:
            self._burst(exchange, symbol, trades)

        # Streams are told from the same loop: no message is written half before and half after it.
        asyncio.run_coroutine_threadsafe(between_messages(), self._loop).result()

    @property
    def requests(self) -> list[Asked]:
        """The latest 50,000 requests, oldest first."""
        return self._record.all()

    def start(self) -> Self:
        """Start the server; return once it answers."""
        self._thread.start()
        self._ready.wait()
        if isinstance(self._failure, OSError):
            message = f"The sandbox can't listen on port {self._port}: choose another, or 0 for a free one."
            raise ServiceError(message) from self._failure
        if self._failure is not None:
            raise self._failure
        return self

    def close(self) -> None:
        """Stop the server and drop its connections."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _burst(self, exchange: str, symbol: str, trades: int = _BURST_TRADES) -> None:
        for place in self._places_of(exchange, symbol):
            market = self.markets[place]
            history = BurstHistory(market.history, symbol, at_ms=self._clock_ms(), trades=trades)
            self.markets[place] = replace(market, history=history)
        self._list_markets()

    def _places_of(self, exchange: str, symbol: str) -> list[int]:
        places = [place for place, one in enumerate(self.markets) if (one.exchange, one.symbol) == (exchange, symbol)]
        if not places:
            raise InputError(f"The sandbox has no {exchange} {symbol}: GET /_control/markets names those it has.")
        return places

    def _list_markets(self) -> None:
        """Let the exchanges know the markets as they are now; their limiters begin anew."""
        listed = [market for market in self.markets if market.listed]
        self._dialects = {dialect.host: dialect for dialect in dialects(listed, self._limits)}
        self._streams = {dialect.host: dialect for dialect in stream_dialects(listed)}

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as failure:  # noqa: BLE001 -- start() raises it in the caller's thread
            self._failure = failure
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        server = web.Server(self._handle, handler_cancellation=True, access_log=None)
        runner = web.ServerRunner(server, shutdown_timeout=0.2)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self._port)
        try:
            await site.start()
            self._port = runner.addresses[0][1]
            self._ready.set()
            await self._stop.wait()
        finally:
            await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        host, _, path = request.path.lstrip("/").partition("/")
        if host == CONTROL_HOST:
            body = await request.read()
            return _written(
                control(
                    request.method,
                    path,
                    body,
                    markets=self.markets,
                    record=self._record,
                    faults=self.faults,
                    change_market=self.change_market,
                    burst=self._burst,
                )
            )
        ask = Ask(host, request.method, f"/{path}", dict(request.query), self._clock_ms(), self._page_rows)
        if (dialect := self._streams.get(host.partition(":")[0])) is not None and dialect.has(ask.path):
            return await self._stream(request, replace(ask, host=dialect.host))
        answer = await self._answer(ask)
        return self._recorded(request, ask, answer)

    async def _stream(self, request: web.BaseRequest, ask: Ask) -> web.StreamResponse:
        """A client's connection to an exchange's streams, until it ends."""
        faults = self.faults.striking(ask, None, lambda fault: fault.kind in RESPONSE_FAULTS)
        if await self._is_lost(faults):
            return self._recorded(request, ask, None)
        for fault in faults:
            if fault.kind == "status":
                return self._recorded(request, ask, spoilt(Answer(b""), fault))
        socket = web.WebSocketResponse(autoping=False, compress=False)
        socket.headers[SANDBOX_HEADER] = "1"
        await socket.prepare(request)
        self._record.add(ask, HTTPStatus.SWITCHING_PROTOCOLS)

        def abort() -> None:
            if request.transport is not None:
                request.transport.abort()

        await Stream(
            socket,
            dialect=lambda: self._streams[ask.host],
            clock_ms=self._clock_ms,
            faults=self.faults,
            subscribed=self._note_subscriptions,
            abort=abort,
        ).run()
        return socket

    def _note_subscriptions(self, count: int) -> None:
        if isinstance(self._clock_ms, ReplayClock):
            self._clock_ms.note_subscriptions(count)

    def _recorded(self, request: web.BaseRequest, ask: Ask, answer: Answer | None) -> web.StreamResponse:
        """The answer written out, and recorded; without one the connection is dropped."""
        self._record.add(ask, 0 if answer is None else answer.status)
        if answer is None:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        return _written(answer)

    async def _answer(self, ask: Ask) -> Answer | None:
        """The answer after faults, limits and latency; None where the connection is to be dropped."""
        if self.latency_ms:
            await asyncio.sleep(self.latency_ms / 1000)
        dialect = self._dialects.get(ask.host)
        if dialect is None:
            message = f"The sandbox has no {ask.host}, only {', '.join(self._dialects)}."
            return json_answer({"error": message}, status=HTTPStatus.NOT_FOUND)
        market = dialect.market_asked(ask)
        faults = self.faults.striking(ask, market, lambda fault: fault.kind in RESPONSE_FAULTS)
        if await self._is_lost(faults):
            return None
        skew_ms = sum(fault.skew_ms for fault in faults if fault.kind == "clock_skew")
        answer = self._exchange_answer(dialect, replace(ask, now_ms=ask.now_ms + skew_ms), market)
        for fault in faults:
            answer = spoilt(answer, fault)
        return answer

    def _exchange_answer(self, dialect: Dialect, ask: Ask, market: Market | None) -> Answer:
        if (refusal := dialect.refuse(ask, time.time())) is not None:
            return refusal
        try:
            answer = dialect.answer(ask)
        except Refused as refused:
            return refused.answer
        if isinstance(answer, Answer):
            return answer
        return self._damaged(answer, ask, market).answer()

    def _damaged(self, page: Page | BookPage, ask: Ask, market: Market | None) -> Page | BookPage:
        def fits(fault: Fault) -> bool:
            return fault.kind in ROW_FAULTS and strikes(page, fault)

        for fault in self.faults.striking(ask, market, fits):
            page = damage(page, fault)
        return page

    async def _is_lost(self, faults: Sequence[Fault]) -> bool:
        """Whether the faults leave a request without an answer; where it hangs, only when the server stops.

        The client goes away before, which cancels this.
        """
        if any(fault.kind == "drop" for fault in faults):
            return True
        if any(fault.kind == "hang" for fault in faults):
            assert self._stop is not None
            await self._stop.wait()
            return True
        return False


def _written(answer: Answer) -> web.Response:
    headers = {"Content-Type": answer.content_type, SANDBOX_HEADER: "1", **answer.headers}
    return web.Response(status=answer.status, body=answer.body, headers=headers)
