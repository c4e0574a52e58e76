"""A capture: all that goes over the wire during a stream, kept as it is in compressed files, to be replayed later.

A line is a JSON object with `at` (ns since 1970), `kind` and the address without credentials. Written in a thread of
its own: the stream only puts what it hears into a queue. What was flushed, once a second, outlives a kill -9.
"""

import asyncio
import gzip
import json
import threading
import time
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

from tapehouse.errors import ServiceError
from tapehouse.exchange.routing import original_address
from tapehouse.exchange.wire import HttpAnswer
from tapehouse.stream.request import StreamRequest

# A file is closed once it has so many bytes, or its hour is over.
_MOST_BYTES: Final = 64 * 1024 * 1024
_WRITE_S: Final = 0.1
_FLUSH_S: Final = 1.0
# No more lines wait for a disk that is slow: then the stream waits for it.
_MOST_WAITING: Final = 20_000
_LOOK_S: Final = 0.5
# The level that keeps to a fifth of a core at 10,000 messages a second; the next ones save little.
_LEVEL: Final = 4


class Capture:
    """Keeps what it is told of as a `Wire`; raises ServiceError where the folder takes no files."""

    def __init__(self, folder: Path, request: StreamRequest, *, base_url: str | None = None) -> None:
        self._base_url = base_url
        self._files = _Files(folder, request)
        self._waiting: deque[tuple[int, str, Mapping[str, object]]] = deque()
        # Of each connection that stands.
        self._addresses: dict[int, str] = {}
        self._is_over = threading.Event()
        self._failure: OSError | None = None
        self._is_told = False
        try:
            self._files.open()
        except OSError as error:
            raise ServiceError(f"Nothing can be kept in {folder} ({error.strerror}): choose another folder.") from error
        self._thread = threading.Thread(target=self._run, name="tapehouse-capture", daemon=True)
        self._thread.start()

    def opened(self, link: int, url: str) -> None:
        """A WebSocket stands."""
        self._addresses[link] = original_address(url, self._base_url)
        self._keep("opened", link)

    def sent(self, link: int, text: str) -> None:
        """A message is about to be sent."""
        self._keep("sent", link, text)

    def received(self, link: int, text: str) -> None:
        """A message has come."""
        self._keep("received", link, text)

    def closed(self, link: int) -> None:
        """A WebSocket is lost."""
        if link in self._addresses:
            self._keep("closed", link)
            del self._addresses[link]

    def answered(self, answer: HttpAnswer) -> None:
        """A request was answered."""
        self._put(
            "answered",
            {
                "address": original_address(answer.url, self._base_url),
                "method": answer.method,
                "sent": answer.sent,
                "status": answer.status,
                "headers": dict(answer.headers),
                "of_streams": answer.of_streams,
                "tells_time": answer.tells_time,
                "text": answer.body,
            },
        )

    async def watch(self) -> None:
        """Return never; raises ServiceError once the disk takes no more."""
        while self._failure is None:  # noqa: ASYNC110 -- another thread's
            await asyncio.sleep(_LOOK_S)
        self._raise(self._failure)

    def close(self) -> None:
        """Write all that waits; raises ServiceError where that fails and nobody was told before."""
        self._is_over.set()
        self._thread.join()
        if self._failure is not None and not self._is_told:
            self._raise(self._failure)

    def _keep(self, kind: str, link: int, text: str | None = None) -> None:
        told: dict[str, object] = {"link": link, "address": self._addresses.get(link)}
        if text is not None:
            told["text"] = text
        self._put(kind, told)

    def _put(self, kind: str, told: Mapping[str, object]) -> None:
        self._waiting.append((time.time_ns(), kind, told))
        while len(self._waiting) > _MOST_WAITING and self._failure is None:
            time.sleep(_WRITE_S)

    def _run(self) -> None:
        flushed_at_s = time.monotonic()
        try:
            while not self._is_over.wait(_WRITE_S):
                self._write_waiting()
                if time.monotonic() - flushed_at_s >= _FLUSH_S:
                    self._files.flush()
                    flushed_at_s = time.monotonic()
            self._write_waiting()
            self._files.close()
        except OSError as error:
            self._failure = error

    def _write_waiting(self) -> None:
        lines: list[str] = []
        for _ in range(len(self._waiting)):
            at_ns, kind, told = self._waiting.popleft()
            lines.append(_line(at_ns, kind, told))
        if lines:
            self._files.write("".join(lines))

    def _raise(self, failure: OSError) -> None:
        self._is_told = True
        raise ServiceError(
            f"{self._files.path} can't be written ({failure.strerror}): make room, or stream without --capture. "
            "What came until then is stored."
        ) from failure


class _Files:
    """The files of one stream, one after the other; each begins with a line that says what was asked for."""

    def __init__(self, folder: Path, request: StreamRequest) -> None:
        self._folder = folder
        self._request = request
        self._name = f"{request.exchange_id}-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
        self._number = 0
        self._hour = -1
        self._raw: IO[bytes] | None = None
        self._packed: gzip.GzipFile | None = None
        self.path = folder

    def open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._number += 1
        self._hour = _hour_now()
        self.path = self._folder / f"{self._name}-{self._number:05}.jsonl.gz"
        self._raw = self.path.open("xb")
        self._packed = gzip.GzipFile(fileobj=self._raw, mode="wb", compresslevel=_LEVEL)
        self._packed.write(_line(time.time_ns(), "stream", _asked_for(self._request)).encode())
        self.flush()

    def write(self, lines: str) -> None:
        assert self._packed is not None
        assert self._raw is not None
        if self._raw.tell() >= _MOST_BYTES or self._hour != _hour_now():
            self.close()
            self.open()
        self._packed.write(lines.encode())

    def flush(self) -> None:
        assert self._packed is not None
        assert self._raw is not None
        self._packed.flush()
        self._raw.flush()

    def close(self) -> None:
        assert self._packed is not None
        assert self._raw is not None
        self._packed.close()
        self._raw.close()


def _line(at_ns: int, kind: str, told: Mapping[str, object]) -> str:
    return json.dumps({"at": at_ns, "kind": kind, **told}, separators=(",", ":"), ensure_ascii=False) + "\n"


def _asked_for(request: StreamRequest) -> dict[str, Any]:
    return {
        "exchange": request.exchange_id,
        "symbols": list(request.symbols),
        "datasets": list(request.datasets),
        "timeframe": request.timeframe.name,
        "depth": request.depth,
        "every_s": request.every.total_seconds(),
    }


def _hour_now() -> int:
    return int(time.time() // 3600)
