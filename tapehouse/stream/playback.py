"""A captured stream played again: who connects, subscribes and asks is told what was told then, in the same order.

A connection is told nothing before it has subscribed as it had then, nor what came after an answer before it has had
that answer: so what the same classes make of it is the same, however fast it is played.
"""

import asyncio
import json
import re
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, cast
from urllib.parse import unquote

from aiohttp import web

from tapehouse.exchange.wire import HttpAnswer
from tapehouse.stream.captured import CapturedStream, Event

# So long is waited for a client to connect, which pauses after a loss; and for it to say or ask what it did then.
_CONNECT_S: Final = 20.0
_PATIENCE_S: Final = 5.0
# No more messages are under way, so that the clock is not ahead of what was read.
_MOST_UNREAD: Final = 100
# What numbers a request of a client's, which its acknowledgement repeats.
_NUMBERS: Final = ("id", "req_id", "reqid")
_NUMBER: Final = re.compile(r'"(?:id|req_id|reqid)"\s*:')
# What clients say to hear whether anybody is there, and the answer: a short message with that word.
_PING, _PONG = (re.compile(rf".{{0,100}}\b{word}\b.{{0,100}}") for word in ("ping", "pong"))
_DIGITS: Final = re.compile(r"\d{10,19}")
_DAY_NS: Final = 24 * 3600 * 10**9

# What tells requests apart: the method, the address, and what was sent with it.
_Asked = tuple[str, str, str]


@dataclass(eq=False)
class Socket:
    """A client's connection: what it has said so far, and which numbers of its requests stand for which then."""

    address: str
    web: web.WebSocketResponse
    abort: Callable[[], None]
    heard: list[str] = field(default_factory=list[str])
    numbers: dict[Any, Any] = field(default_factory=dict[Any, Any])


@dataclass(eq=False)
class _Captured:
    """An answer, and whether it was given again."""

    event: Event
    is_given: bool = False
    is_read: bool = False


class Playback:
    """One captured stream; `speed` is how many times as fast it is played, None for as fast as it is read.

    It is the `Wire` of the stream that listens, and so knows what was read. `unanswered` are the requests that were
    not captured, `unheard` counts messages for which nobody was connected.
    """

    def __init__(self, captured: CapturedStream, *, speed: float | None) -> None:
        self._captured = captured
        self._speed = speed
        self._answers: dict[_Asked, list[_Captured]] = defaultdict(list)
        self._addresses: set[str] = set()
        self._pongs: dict[str, str] = {}
        for event in captured.events():
            if event.kind == "answered":
                self._answers[_asked(event.method, event.address, event.sent)].append(_Captured(event))
            elif event.kind == "opened":
                self._addresses.add(unquote(event.address))
            elif event.kind == "received" and _PONG.fullmatch(event.text):
                self._pongs[unquote(event.address)] = event.text
        self._new: list[Socket] = []
        self._sockets: dict[int, Socket] = {}
        self._now_ns = 0
        self._told = self._read = self._told_link = 0
        self.unanswered: set[str] = set()
        self.unheard = 0
        self.messages = 0
        self.asked_at_s = 0.0

    async def run(self) -> None:
        """Tell all that was told; return once it was read."""
        began_s, first_ns = time.monotonic(), None
        for event in self._captured.events():
            first_ns = event.at if first_ns is None else first_ns
            if self._speed is not None:
                due_s = began_s + (event.at - first_ns) / 1e9 / self._speed
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            self._now_ns = event.at
            await self._play(event)
        await self._until_read()

    def has_streams(self, address: str) -> bool:
        """Whether somebody was connected there."""
        return unquote(address) in self._addresses

    def connect(self, socket: Socket) -> None:
        """A client has connected."""
        self._new.append(socket)

    async def hear(self, socket: Socket, text: str) -> None:
        """A client has said something; who asks whether anybody is there is told so, whenever that is."""
        if not _PING.fullmatch(text):
            socket.heard.append(text)
        elif (pong := self._pongs.get(socket.address)) is not None:
            self._told += 1
            await socket.web.send_str(pong)

    async def answer(self, method: str, address: str, sent: str) -> Event | None:
        """What was answered to a request by now, None if it was not captured.

        What a streaming class had asked is held back until all that came before it was told.
        """
        self.asked_at_s = time.monotonic()
        answers = self._answers.get(_asked(method, address, sent))
        if answers is None:
            self.unanswered.add(f"{method} {address}")
            return None
        held = next((one for one in answers if one.event.of_streams and not one.is_given), None)
        if held is not None:
            await _until(lambda: self._now_ns >= held.event.at, _PATIENCE_S)
            held.is_given = True
            return held.event
        past = [one.event for one in answers if one.event.at <= self._now_ns]
        event = past[-1] if past else answers[0].event
        return _at_time(event, max(self._now_ns, event.at)) if event.tells_time else event

    def opened(self, link: int, url: str) -> None:
        """Known from the client's connecting."""

    def sent(self, link: int, text: str) -> None:
        """Heard by the server."""

    def closed(self, link: int) -> None:
        """Seen by the server."""

    def received(self, link: int, text: str) -> None:  # noqa: ARG002 -- of which does not matter
        """A message was read."""
        self._read += 1

    def answered(self, answer: HttpAnswer) -> None:
        """An answer was read."""
        # What comes behind the server's own address.
        address = answer.url.split("/", 3)[3]
        for one in self._answers.get(_asked(answer.method, address, answer.sent), ()):
            one.is_read = one.is_given

    async def _play(self, event: Event) -> None:
        if event.kind == "received":
            await self._tell(event)
            return
        await self._until_read()
        match event.kind:
            case "answered" if event.of_streams:
                await _until(lambda: self._is_read(event), _PATIENCE_S)
            case "opened":
                await self._join(event)
            case "sent" if event.link in self._sockets and not _PING.fullmatch(event.text):
                await self._hear(self._sockets[event.link], event.text)
            case "closed" if (socket := self._sockets.pop(event.link, None)) is not None:
                socket.abort()
            case _:
                pass

    async def _tell(self, event: Event) -> None:
        socket = self._sockets.get(event.link)
        if socket is None or socket.web.closed:
            self.unheard += 1
            return
        # Of several connections nobody knows which is read first.
        if event.link != self._told_link or self._told - self._read >= _MOST_UNREAD:
            await self._until_read()
        self._told_link = event.link
        self._told += 1
        self.messages += 1
        try:
            await socket.web.send_str(_renumbered(event.text, socket.numbers))
        except ConnectionError:
            self.unheard += 1

    async def _join(self, event: Event) -> None:
        """Wait until a client connects to that address, which stands for the connection from then on."""
        address = unquote(event.address)

        def is_there() -> bool:
            self._new = [socket for socket in self._new if not socket.web.closed]
            return any(socket.address == address for socket in self._new)

        if await _until(is_there, _CONNECT_S):
            socket = next(one for one in self._new if one.address == address)
            self._new.remove(socket)
            self._sockets[event.link] = socket

    async def _hear(self, socket: Socket, text: str) -> None:
        """Wait until the client says that too, but for the number."""
        wanted, number = _without_number(text)

        def is_said() -> bool:
            for place, said in enumerate(socket.heard):
                bare, its_number = _without_number(said)
                if bare == wanted:
                    del socket.heard[place]
                    if number is not None and number != its_number:
                        socket.numbers[number] = its_number
                    return True
            return socket.web.closed

        await _until(is_said, _PATIENCE_S)

    def _is_read(self, event: Event) -> bool:
        answers = self._answers[_asked(event.method, event.address, event.sent)]
        return next(one.is_read for one in answers if one.event == event)

    async def _until_read(self) -> None:
        """Wait until all that was told was read; what is lost with its connection never is."""
        await _until(lambda: self._read >= self._told, _PATIENCE_S)
        self._told = self._read


async def _until(holds: Callable[[], bool], patience_s: float) -> bool:
    """Wait until that holds; false if it does not in so long."""
    deadline_s, pause_s = time.monotonic() + patience_s, 0.0
    while not holds():
        if time.monotonic() > deadline_s:
            return False
        await asyncio.sleep(pause_s)
        # What is waited for is mostly a turn of this loop away.
        pause_s = min(pause_s + 0.0001, 0.01)
    return True


def _asked(method: str, address: str, sent: str | None) -> _Asked:
    return method, unquote(address), sent or ""


def _without_number(text: str) -> tuple[object, Any]:
    try:
        told: Any = json.loads(text)
    except ValueError:
        return text, None
    if not isinstance(told, dict):
        return text, None
    asked = cast("dict[str, Any]", told)
    numbers = [asked.pop(name) for name in _NUMBERS if name in asked]
    return asked, numbers[0] if numbers else None


def _renumbered(text: str, numbers: dict[Any, Any]) -> str:
    """An acknowledgement with the number that the request has now; all else as it is."""
    if not numbers or not _NUMBER.search(text):
        return text
    told = json.loads(text)
    for name in _NUMBERS:
        if told.get(name) in numbers:
            told[name] = numbers[told[name]]
    return json.dumps(told)


def _at_time(event: Event, now_ns: int) -> Event:
    """What the exchange's clock says so much later, whatever unit it counts in."""

    def moved(found: re.Match[str]) -> str:
        number = int(found[0])
        for unit_ns in (10**9, 10**6, 10**3, 1):
            if abs(number * unit_ns - event.at) < _DAY_NS:
                return str(number + (now_ns - event.at) // unit_ns)
        return found[0]

    return Event(
        event.at,
        event.kind,
        event.address,
        text=_DIGITS.sub(moved, event.text),
        status=event.status,
        headers=event.headers,
    )
