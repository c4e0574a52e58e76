"""Captures replayed: a local server stands for the exchange, and the ordinary stream listens to it.

What it tells, and when, is `playback`'s business.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from aiohttp import WSMsgType, web

from tapehouse.config import SANDBOX_HEADER
from tapehouse.errors import PermanentError
from tapehouse.stream.batcher import Flushing
from tapehouse.stream.beside import until_first
from tapehouse.stream.captured import captured_streams
from tapehouse.stream.playback import Playback, Socket
from tapehouse.stream.service import stream
from tapehouse.stream.statistics import StreamStatistics

# Who looks for holes has looked once more by then, and who asks for them has asked on at every exchange's pace.
_SETTLED_S: Final = 4.0
_LOOK_S: Final = 0.1
# Of an answer's headers, those that say what it is: others are about the connection that it came over.
_KEPT_HEADERS: Final = frozenset(("content-type", "retry-after", SANDBOX_HEADER.lower()))

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Replayed:
    """What was replayed: streams and their messages, those that nobody was there to hear, and what was not captured."""

    streams: int = 0
    messages: int = 0
    unheard: int = 0
    unanswered: set[str] = field(default_factory=set[str])


async def replay(
    folder: Path,
    *,
    database_url: str,
    spill_folder: Path,
    speed: float | None = None,
    flushing: Flushing | None = None,
    statistics: StreamStatistics,
    replayed: Replayed,
) -> None:
    """Stream again what was captured in a folder, one stream after the other; return once all of it is written.

    `speed` is how many times as fast as it was heard, None for as fast as it goes. `replayed` and `statistics` are kept
    up to date meanwhile. Raises as `stream` does, and InputError where the folder holds no capture.
    """
    for captured in captured_streams(folder):
        replayed.streams += 1
        playback = Playback(captured, speed=speed)
        try:
            async with _served(playback) as url:
                streaming = stream(
                    captured.request,
                    database_url=database_url,
                    spill_folder=spill_folder,
                    base_url=url,
                    flushing=flushing,
                    statistics=statistics,
                    wire=playback,
                )
                await until_first(streaming, _play(playback, statistics))
        except PermanentError as error:
            # A capture that was cut off before the exchange had answered what a stream begins with.
            if not playback.unanswered:
                raise
            _logger.warning("A stream of %s can't go on: %s", captured.request.exchange_id, error)
        finally:
            replayed.messages += playback.messages
            replayed.unheard += playback.unheard
            replayed.unanswered |= playback.unanswered


async def _play(playback: Playback, statistics: StreamStatistics) -> None:
    """Return once all was told, and what it did not tell was asked for."""
    await playback.run()
    active_at_s = time.monotonic()
    while time.monotonic() - max(active_at_s, playback.asked_at_s) < _SETTLED_S:
        await asyncio.sleep(_LOOK_S)
        if statistics.holes > statistics.filled + statistics.missed:
            active_at_s = time.monotonic()


@asynccontextmanager
async def _served(playback: Playback) -> AsyncGenerator[str]:
    """The address of a server that plays it."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        address = request.raw_path.removeprefix("/")
        if playback.has_streams(address) and request.headers.get("Upgrade", "").lower() == "websocket":
            return await _stream(request, address, playback)
        answer = await playback.answer(request.method, address, await request.text())
        if answer is None:
            return web.json_response({"error": "not captured"}, status=HTTPStatus.NOT_FOUND)
        headers = {name: value for name, value in (answer.headers or {}).items() if name.lower() in _KEPT_HEADERS}
        return web.Response(status=answer.status, body=answer.text.encode(), headers=headers)

    runner = web.ServerRunner(web.Server(handle, handler_cancellation=True, access_log=None), shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def _stream(request: web.BaseRequest, address: str, playback: Playback) -> web.StreamResponse:
    """A client's connection, until it ends."""

    def abort() -> None:
        if request.transport is not None:
            request.transport.abort()

    response = web.WebSocketResponse(compress=False)
    await response.prepare(request)
    socket = Socket(unquote(address), response, abort)
    playback.connect(socket)
    async for frame in response:
        if frame.type is WSMsgType.TEXT:
            await playback.hear(socket, frame.data)
    return response
