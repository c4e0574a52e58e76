"""Running a stream as a service: it ends when told to, by a signal or the clock, and shows that it is alive."""

import asyncio
import json
import os
import signal
from collections.abc import Callable, Coroutine, Generator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from tapehouse.errors import ServiceError
from tapehouse.stream.batcher import Flushing
from tapehouse.stream.beside import until_first
from tapehouse.stream.capture import Capture
from tapehouse.stream.request import StreamRequest
from tapehouse.stream.service import stream
from tapehouse.stream.statistics import StreamStatistics

_BEAT_S: Final = 5.0
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def run_stream(
    request: StreamRequest,
    *,
    database_url: str | None = None,
    spill_folder: Path | None = None,
    base_url: str | None = None,
    flushing: Flushing | None = None,
    capture: Path | None = None,
    lasting: timedelta | None = None,
    heartbeat: Path | None = None,
    progress: Callable[[StreamStatistics], None] | None = None,
) -> StreamStatistics:
    """Stream until SIGINT or SIGTERM, or for so long; gives what was done once all of it is written.

    What comes is kept in the folder `capture` as it is. Every five seconds `progress` is called, and `heartbeat`
    becomes a file of JSON with the statistics and the time: one that is older means that the stream hangs. Raises as
    `stream` does, and ServiceError where one of these can't be written.
    """

    async def work(statistics: StreamStatistics) -> None:
        with _capturing(capture, request, base_url) as wire:
            streaming = stream(
                request,
                database_url=database_url,
                spill_folder=spill_folder,
                base_url=base_url,
                flushing=flushing,
                statistics=statistics,
                wire=wire,
            )
            await (streaming if wire is None else until_first(streaming, wire.watch()))

    return run_until_told(work, lasting=lasting, heartbeat=heartbeat, progress=progress)


def run_until_told(
    work: Callable[[StreamStatistics], Coroutine[Any, Any, None]],
    *,
    lasting: timedelta | None = None,
    heartbeat: Path | None = None,
    progress: Callable[[StreamStatistics], None] | None = None,
) -> StreamStatistics:
    """Let that work go on until it ends, or SIGINT or SIGTERM, or for so long; gives what it counted."""
    statistics = StreamStatistics()

    async def run() -> None:
        is_told, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, is_told.set)
        try:
            await until_first(work(statistics), _until_told(is_told, lasting), _beat(statistics, heartbeat, progress))
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    asyncio.run(run())
    if heartbeat is not None:
        _write_heartbeat(heartbeat, statistics)
    return statistics


@contextmanager
def _capturing(folder: Path | None, request: StreamRequest, base_url: str | None) -> Generator[Capture | None]:
    if folder is None:
        yield None
        return
    with closing(Capture(folder, request, base_url=base_url)) as capture:
        yield capture


async def _until_told(is_told: asyncio.Event, lasting: timedelta | None) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(lasting.total_seconds() if lasting else None):
            await is_told.wait()


async def _beat(
    statistics: StreamStatistics, heartbeat: Path | None, progress: Callable[[StreamStatistics], None] | None
) -> None:
    while True:
        if heartbeat is not None:
            _write_heartbeat(heartbeat, statistics)
        if progress is not None:
            progress(statistics)
        await asyncio.sleep(_BEAT_S)


def _write_heartbeat(path: Path, statistics: StreamStatistics) -> None:
    """As a whole or not at all: who looks meanwhile sees the one before."""
    told = {"at": datetime.now(UTC).isoformat(), "pid": os.getpid(), **statistics.as_json()}
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(json.dumps(told))
        beside.replace(path)
    except OSError as error:
        raise ServiceError(
            f"{path} can't be written ({error.strerror}): name another file with --heartbeat."
        ) from error
