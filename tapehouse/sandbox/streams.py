"""Streams: one client's WebSocket, what it has subscribed to, and what it is told as the clock goes on.

What exchanges say is their dialects' business (`tapehouse.sandbox.dialects`), what markets tell that of
`tapehouse.sandbox.feeds`.
"""

import asyncio
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from aiohttp import WSMsgType, web

from tapehouse.sandbox.answer import Ask
from tapehouse.sandbox.faults import STREAM_FAULTS, Fault, Faults
from tapehouse.sandbox.feeds import Feed, Message, StreamDialect
from tapehouse.sandbox.market import Market

_TICK_S: Final = 0.005
# At most so much of the exchange's time at once, which bounds what waits to be sent.
_STRETCH_MS: Final = 1000
_HEARTBEAT_S: Final = 1.0
_PONG_WITHIN_S: Final = 60.0
_CHECKSUM: Final = re.compile(r'"checksum":(\d+)')


@dataclass(slots=True)
class _Followed:
    """A feed that a client has subscribed to, and until when it has been told."""

    feed: Feed
    told_ms: int


class Stream:
    """One client's connection to the streams of an exchange.

    It is told everything between two looks at the clock, in order of time, however long that takes: what it
    does not read waits. `dialect` is asked anew each time, as markets may change; `subscribed` is told of every
    feed that begins.
    """

    def __init__(
        self,
        socket: web.WebSocketResponse,
        *,
        dialect: Callable[[], StreamDialect],
        clock_ms: Callable[[], int],
        faults: Faults,
        subscribed: Callable[[int], None],
        abort: Callable[[], None],
    ) -> None:
        self._socket = socket
        self._dialect = dialect
        self._clock_ms = clock_ms
        self._faults = faults
        self._subscribed = subscribed
        self._abort = abort
        self._followed: dict[str, _Followed] = {}
        self._silent_until_s = 0.0
        self._sent_at_s = self._heard_at_s = self._pinged_at_s = time.monotonic()

    async def run(self) -> None:
        """Answer and tell until the client goes, or a fault cuts the connection."""
        telling = asyncio.create_task(self._tell())
        listening = asyncio.create_task(self._listen())
        try:
            await asyncio.wait((telling, listening), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (telling, listening):
                task.cancel()
                # The client is gone.
                with suppress(ConnectionError, asyncio.CancelledError):
                    await task

    async def _listen(self) -> None:
        async for frame in self._socket:
            self._heard_at_s = time.monotonic()
            if frame.type is WSMsgType.TEXT:
                await self._answer(frame.data)
            elif frame.type is WSMsgType.PING and not self._silent_s():
                await self._socket.pong(frame.data)

    async def _answer(self, text: str) -> None:
        now_ms = self._clock_ms()
        heard = self._dialect().hear(text, list(self._followed), now_ms)
        for answer in heard.answers:
            await self._send(answer)
        for name in heard.ended:
            self._followed.pop(name, None)
        for feed in heard.begun:
            self._followed.setdefault(feed.name, _Followed(feed, now_ms))
        self._subscribed(len(heard.begun))

    async def _tell(self) -> None:
        for text in self._dialect().greeting():
            await self._send(text)
        while await self._is_kept_alive():
            now_ms = self._clock_ms()
            told_ms = min((one.told_ms for one in self._followed.values()), default=now_ms)
            end_ms = min(told_ms + _STRETCH_MS, now_ms)
            await self._tell_until(end_ms)
            # HTTP is served by the same loop.
            await asyncio.sleep(_TICK_S if end_ms == now_ms else 0)

    async def _tell_until(self, end_ms: int) -> None:
        dialect = self._dialect()
        told: list[tuple[Message, Feed, Market]] = []
        for one in self._followed.values():
            if one.told_ms < end_ms and (market := dialect.market(one.feed.symbol)) is not None:
                told += [(message, one.feed, market) for message in one.feed.tell(market, one.told_ms, end_ms)]
            one.told_ms = max(one.told_ms, end_ms)
        told.sort(key=lambda one: one[0].time_ms)
        for message, feed, market in told:
            await self._push(message, feed, market)

    async def _push(self, message: Message, feed: Feed, market: Market) -> None:
        text = message.text
        for fault in self._striking(message, feed, market):
            match fault.kind:
                case "ws_drop":
                    self._abort()
                    raise ConnectionError
                case "ws_stall":
                    self._silent_until_s = time.monotonic() + fault.stall_s
                case "ws_gap":
                    return
                case "ws_checksum":
                    text = _CHECKSUM.sub(lambda found: f'"checksum":{int(found[1]) ^ 1}', text)
                case _:
                    await self._send(text)
        await self._send(text)

    def _striking(self, message: Message, feed: Feed, market: Market) -> list[Fault]:
        if not self._faults.has_any_of(STREAM_FAULTS):
            return []

        def fits(fault: Fault) -> bool:
            if fault.kind not in STREAM_FAULTS:
                return False
            if not (fault.start_ms or 0) <= message.time_ms < (fault.end_ms or 2**63):
                return False
            if fault.kind == "ws_checksum":
                return _CHECKSUM.search(message.text) is not None
            return fault.kind != "ws_gap" or message.is_book

        ask = Ask(self._dialect().host, "PUSH", f"/{feed.name}", {}, message.time_ms)
        return self._faults.striking(ask, market, fits)

    async def _send(self, text: str) -> None:
        if silent_s := self._silent_s():
            await asyncio.sleep(silent_s)
        await self._socket.send_str(text)
        self._sent_at_s = time.monotonic()

    def _silent_s(self) -> float:
        return max(0.0, self._silent_until_s - time.monotonic())

    async def _is_kept_alive(self) -> bool:
        """Whether the client is still there; sends it what the exchange sends where nothing happens."""
        dialect, now_s = self._dialect(), time.monotonic()
        if dialect.heartbeat is not None and self._followed and now_s - self._sent_at_s >= _HEARTBEAT_S:
            await self._send(dialect.heartbeat)
        if dialect.ping_every_s is None or self._silent_s():
            return True
        if now_s - self._pinged_at_s >= dialect.ping_every_s:
            await self._socket.ping(str(self._clock_ms()).encode())
            self._pinged_at_s = now_s
        return now_s - self._heard_at_s < dialect.ping_every_s + _PONG_WITHIN_S
