"""What was captured, read again: streams in the order in which they ran, each with all that it heard."""

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from tapehouse.errors import InputError
from tapehouse.stream.request import StreamRequest
from tapehouse.timeframe import timeframe

_PATTERN: Final = "*.jsonl.gz"
_GZIP: Final = 31
_CHUNK_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True)
class Event:
    """Something that went over the wire: a message with its connection, or an answer (`method` and so on)."""

    at: int
    kind: str
    address: str
    link: int = 0
    text: str = ""
    method: str = ""
    sent: str | None = None
    status: int = 0
    headers: Mapping[str, str] | None = None
    of_streams: bool = False
    tells_time: bool = False


@dataclass(frozen=True, slots=True)
class CapturedStream:
    """One stream: what was asked for, and the files with what it heard."""

    request: StreamRequest
    files: Sequence[Path]

    def events(self) -> Iterator[Event]:
        """All that went over the wire, in its order; raises InputError for files that hold something else."""
        for path in self.files:
            for told in _objects(path):
                if told.get("kind") == "stream":
                    continue
                try:
                    yield Event(**told)
                except TypeError as error:
                    raise _not_a_capture(path) from error


def captured_streams(folder: Path) -> list[CapturedStream]:
    """The streams that were captured in a folder, oldest first; raises InputError where there are none."""
    files = sorted(folder.glob(_PATTERN), key=lambda path: (_stream_of(path).partition("-")[2], path.name))
    streams = [_stream(list(of_stream)) for _, of_stream in groupby(files, _stream_of)]
    captured = [stream for stream in streams if stream is not None]
    if not captured:
        raise InputError(f"{folder} holds no capture: name the folder that was given as --capture.")
    return captured


def _stream_of(path: Path) -> str:
    """`binance-20260102T030405.678901Z` of its file `binance-20260102T030405.678901Z-00001.jsonl.gz`."""
    return path.name.rpartition("-")[0]


def _stream(files: Sequence[Path]) -> CapturedStream | None:
    told = next(_objects(files[0]), None)
    # A process that was killed at once.
    if told is None:
        return None
    try:
        request = StreamRequest(
            told["exchange"],
            told["symbols"],
            told["datasets"],
            timeframe=timeframe(told["timeframe"]),
            depth=told["depth"],
            every=timedelta(seconds=told["every_s"]),
        )
    except (KeyError, TypeError) as error:
        raise _not_a_capture(files[0]) from error
    return CapturedStream(request, files)


def _objects(path: Path) -> Iterator[dict[str, Any]]:
    for line in _lines(path):
        try:
            yield json.loads(line)
        except ValueError as error:
            raise _not_a_capture(path) from error


def _lines(path: Path) -> Iterator[bytes]:
    """The whole lines of a compressed file, also of one whose end is missing because its process was killed."""
    unpack, rest = zlib.decompressobj(_GZIP), b""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            try:
                *lines, rest = (rest + unpack.decompress(chunk)).split(b"\n")
            except zlib.error as error:
                raise _not_a_capture(path) from error
            yield from lines


def _not_a_capture(path: Path) -> InputError:
    return InputError(f"{path} is no capture, or damaged: take it out of the folder to replay the others.")
