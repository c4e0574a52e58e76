"""One ccxt exchange kept open: its requests, retries and clock; importing this imports ccxt.

Everything asked of ccxt goes through `Connection.ask`, so that errors, retries and rate limits
are dealt with in one place. What to ask for and what answers mean is `client`'s business.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from tapehouse.config import SANDBOX_HEADER
from tapehouse.errors import BadPage, RateLimited, RetryableError
from tapehouse.exchange.habits import Habits
from tapehouse.exchange.pacing import Pacer
from tapehouse.exchange.retry import RetryPolicy
from tapehouse.exchange.routing import route_through
from tapehouse.exchange.translate import translate
from tapehouse.exchange.watched import asking_for_time, watched_exchange
from tapehouse.exchange.wire import Wire
from tapehouse.timeframe import from_us

_logger = logging.getLogger(__name__)
_T = TypeVar("_T")
# Clocks of two computers drift apart by milliseconds in that time.
_CLOCK_KEPT_S: Final = 600.0
_MOST_LEFT_OUT: Final = timedelta(milliseconds=999)


class Connection:
    """An open ccxt exchange; `requests` counts what was sent, `retries` what was asked once more after a fault.

    `is_sandbox` is true as soon as an answer said that it came from the sandbox.
    """

    def __init__(
        self,
        exchange_id: str,
        habits: Habits,
        *,
        base_url: str | None,
        timeout_s: float,
        retry: RetryPolicy,
        pacer: Pacer | None,
        streams: bool = False,
        wire: Wire | None = None,
    ) -> None:
        self.exchange_id = exchange_id
        self.requests = 0
        self.retries = 0
        self.is_sandbox = False
        self.ccxt: Any = watched_exchange(
            exchange_id,
            habits,
            timeout_s=timeout_s,
            on_request=self._count_request,
            on_headers=self._note_sandbox,
            pacer=pacer,
            streams=streams,
            wire=wire,
        )
        # What a clock that tells whole seconds leaves out at most.
        self._left_out = _MOST_LEFT_OUT if habits.tells_whole_seconds else timedelta(0)
        self._retry = retry
        self._pacer = pacer
        self._quiet_until_s = 0.0
        self._clock: _ClockReading | None = None
        self._clock_lock = asyncio.Lock()
        if base_url is not None:
            route_through(self.ccxt, base_url)
            if base_url.startswith("http:"):
                # ccxt's pause on closing is for connections with TLS to say goodbye.
                self.ccxt.timeout_on_exit = 0

    async def close(self) -> None:
        """Close the way to the exchange."""
        await self.ccxt.close()

    async def ask(self, request: Callable[[], Awaitable[_T]]) -> _T:
        """The answer to a request, which is made again as the retry policy says; raises only our errors."""
        failures = 0
        while True:
            await asyncio.sleep(self._quiet_until_s - time.monotonic())
            try:
                return await self._ask_once(request)
            except RetryableError as error:
                failures += 1
                if failures >= self._retry.attempts:
                    raise
                self.retries += 1
                await self._pause(failures, error)

    async def now(self) -> datetime:
        """The time by the exchange's clock, never ahead of it; by ours where the exchange does not tell."""
        clock = await self._read_clock()
        return datetime.now(UTC) if clock is None else clock.now()

    async def latest_now(self) -> datetime:
        """The same time, not behind the exchange's clock by what that leaves out: what is new then can't be older."""
        clock = await self._read_clock()
        return datetime.now(UTC) if clock is None else clock.now() + self._left_out

    async def read_clock(self) -> None:
        """Ask for the time anew; what was told before holds until there is an answer."""
        if self.ccxt.has["fetchTime"]:
            self._clock = await self.ask(self._ask_for_time)

    def told_now(self) -> datetime:
        """The same as `latest_now`, by what was last told, without asking."""
        return datetime.now(UTC) if self._clock is None else self._clock.now() + self._left_out

    async def _read_clock(self) -> "_ClockReading | None":
        if not self.ccxt.has["fetchTime"]:
            return None
        async with self._clock_lock:
            if self._clock is None or self._clock.age_s > _CLOCK_KEPT_S:
                self._clock = await self.ask(self._ask_for_time)
        return self._clock

    def _count_request(self) -> None:
        self.requests += 1

    def _note_sandbox(self, headers: Mapping[str, str]) -> None:
        self.is_sandbox = self.is_sandbox or any(name.lower() == SANDBOX_HEADER.lower() for name in headers)

    async def _ask_once(self, request: Callable[[], Awaitable[_T]]) -> _T:
        try:
            return await request()
        except Exception as error:
            raise translate(error, exchange_id=self.exchange_id) from error

    async def _pause(self, failures: int, error: RetryableError) -> None:
        pause_s = self._retry.pause_s(failures, error)
        _logger.warning("%s Asking again in %.1f s.", error, pause_s)
        if isinstance(error, RateLimited):
            # All that share this connection wait: asking on would only lengthen the ban.
            self._quiet_until_s = max(self._quiet_until_s, time.monotonic() + pause_s)
            if self._pacer is not None and error.retry_after_s is not None:
                await self._pacer.quiet(pause_s)
        else:
            await asyncio.sleep(pause_s)

    async def _ask_for_time(self) -> "_ClockReading":
        with asking_for_time():
            time_ms = await self.ccxt.fetch_time()
        if not isinstance(time_ms, int):
            raise BadPage(f"{self.exchange_id} was asked for the time and gave none: try again later.")
        return _ClockReading(time_ms, time.monotonic())


@dataclass(frozen=True, slots=True)
class _ClockReading:
    """What the exchange's clock said, and when that was known here.

    The way back is not guessed at: so the time is late by it, and no candle seems closed too early.
    """

    exchange_ms: int
    read_at_s: float

    @property
    def age_s(self) -> float:
        return time.monotonic() - self.read_at_s

    def now(self) -> datetime:
        return from_us(self.exchange_ms * 1000 + int(self.age_s * 1_000_000))
