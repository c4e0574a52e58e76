"""A WebSocket of the sandbox without ccxt: what is said to it and what it says, as JSON."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, Final

import aiohttp

from tapehouse.sandbox import Sandbox

SPOT: Final = "stream.binance.com:9443/ws/0"
FUTURES: Final = "fstream.binance.com/public/ws/0"
KRAKEN: Final = "ws.kraken.com/v2"
WAIT_S: Final = 20.0


class Socket:
    """An open WebSocket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def say(self, message: object) -> None:
        """Send a message: text as it is, all else as JSON."""
        await self._socket.send_str(message if isinstance(message, str) else json.dumps(message))

    async def ask(self, message: object) -> Any:
        """Send a message and give what comes next."""
        await self.say(message)
        return await self.next()

    async def next(self) -> Any:
        """The next message; numbers with decimals exactly as they are written."""
        frame = await self._socket.receive(timeout=WAIT_S)
        assert frame.type is aiohttp.WSMsgType.TEXT, frame
        return json.loads(frame.data, parse_float=Decimal)

    async def frame(self) -> aiohttp.WSMessage:
        """The next frame, whatever it is; pings of the server are not answered."""
        return await self._socket.receive(timeout=WAIT_S)

    async def ping(self) -> None:
        """Send a ping."""
        await self._socket.ping(b"hello")

    async def until(self, is_enough: Callable[[Any], bool]) -> list[Any]:
        """All messages up to the first that is enough."""
        messages: list[Any] = []
        async with asyncio.timeout(WAIT_S):
            while not messages or not is_enough(messages[-1]):
                messages.append(await self.next())
        return messages


@asynccontextmanager
async def opened(sandbox: Sandbox | str, path: str) -> AsyncGenerator[Socket]:
    """A WebSocket at `host/path` of a sandbox, or of one at that address."""
    url = sandbox if isinstance(sandbox, str) else sandbox.url
    address = f"{url.replace('http', 'ws', 1)}/{path}"
    async with aiohttp.ClientSession() as session, session.ws_connect(address, autoping=False) as socket:
        yield Socket(socket)


def subscribe(*streams: str, request_id: int = 1) -> dict[str, Any]:
    """Binance's request for streams."""
    return {"method": "SUBSCRIBE", "params": list(streams), "id": request_id}
