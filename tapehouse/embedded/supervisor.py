"""The process that keeps the engine running: `python -m tapehouse.embedded.supervisor DATA_DIR`.

It holds the locks, starts the engine, starts it again when it crashed, and stops it cleanly. It says one line of JSON
on stdout when the server is up, or why it isn't, and goes into the background; with `--owned` it stays and ends
when its stdin does.
"""

import argparse
import asyncio
import json
import logging
import os
import signal
import socket
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TextIO

from tapehouse.embedded.directory import DataDirectory, ServerRecord, held
from tapehouse.embedded.engine import Engine, installed_engine
from tapehouse.embedded.process import EngineProcess
from tapehouse.errors import ServiceError, TapehouseError

_LOG_BYTES = 5_000_000
# Asking whether the lock is held takes it for an instant.
_SUPERVISOR_LOCK_TIMEOUT_S = 2.0
# An engine whose supervisor was killed ends by itself, within 8 s (frontend.mjs).
_ENGINE_LOCK_TIMEOUT_S = 12.0
_MAX_CRASHES = 4
_CRASH_WINDOW_S = 60.0
_FIRST_BACKOFF_S = 0.1

_log = logging.getLogger("tapehouse.embedded")


@dataclass(slots=True)
class Supervisor:
    """Runs the engine on one data directory, whose lock it was given, until `stopping` is set."""

    directory: DataDirectory
    engine: Engine
    lock: TextIO
    wanted_port: int | None
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _crashed_at: deque[float] = field(default_factory=lambda: deque[float](maxlen=_MAX_CRASHES))

    async def run(self, report: TextIO) -> None:
        """Start the engine, tell so, and keep it running; raises ServiceError if it can't be."""
        process, port = await self._first_start()
        self._record(port)
        _say(report, {"port": port})
        while await self._ends_by_itself(process):
            _log.error("The engine crashed (%s).", process.ending)
            process = await self._restart(port)
            if process is None:
                return
        await process.stop()
        _log.info("Stopped.")

    async def _first_start(self) -> tuple[EngineProcess, int]:
        port = self.wanted_port or self.directory.last_port() or 0
        if not _is_free(port):
            if self.wanted_port is not None:
                raise ServiceError(f"Port {port} of 127.0.0.1 is taken: choose another one.")
            _log.warning("Port %d of the last time is taken: another one is used.", port)
            port = 0
        return await self._start(port)

    async def _start(self, port: int) -> tuple[EngineProcess, int]:
        process = await EngineProcess.launch(self.engine, self.directory, lock=self.lock, port=port)
        try:
            port = await process.ready()
        except ServiceError:
            await process.stop()
            raise
        _log.info("Ready on 127.0.0.1:%d.", port)
        return process, port

    async def _restart(self, port: int) -> EngineProcess | None:
        """Start it again on the same port; None if it was told to stop meanwhile."""
        while True:
            await self._back_off()
            if self.stopping.is_set():
                return None
            _log.info("Starting the engine again.")
            try:
                process, _ = await self._start(port)
            except ServiceError as exc:
                _log.error("The engine does not start: %s", exc)
                continue
            self._record(port)
            return process

    async def _back_off(self) -> None:
        """Wait longer after each crash of the last minute; raises ServiceError when there were too many."""
        now = time.monotonic()
        self._crashed_at.append(now)
        recent = [at for at in self._crashed_at if now - at < _CRASH_WINDOW_S]
        if len(recent) == _MAX_CRASHES:
            raise ServiceError(f"The engine crashed {_MAX_CRASHES} times within {_CRASH_WINDOW_S:.0f} s: giving up.")
        with suppress(TimeoutError):
            await asyncio.wait_for(self.stopping.wait(), _FIRST_BACKOFF_S * 2 ** (len(recent) - 1))

    async def _ends_by_itself(self, process: EngineProcess) -> bool:
        """Wait for its end or for the order to stop; True if it was the end."""
        ended = asyncio.create_task(process.wait())
        told = asyncio.create_task(self.stopping.wait())
        await asyncio.wait({ended, told}, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        told.cancel()
        return not self.stopping.is_set()

    def _record(self, port: int) -> None:
        self.directory.write_record(ServerRecord(supervisor_pid=os.getpid(), port=port, started_at=datetime.now(UTC)))


def main() -> int:
    """Run a supervisor as its command line says; the exit code."""
    parser = argparse.ArgumentParser(description="Run the embedded database on a data directory.")
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--port", type=int)
    parser.add_argument("--owned", action="store_true", help="stay in the foreground and end with stdin")
    arguments = parser.parse_args()
    directory = DataDirectory(arguments.data_dir)
    report = sys.stdout if arguments.owned else _into_background()
    try:
        _supervise(directory, wanted_port=arguments.port, owned=arguments.owned, report=report)
    except TapehouseError as exc:
        _log.error("%s", exc)
        _say(report, {"error": str(exc)})
        return exc.exit_code
    except Exception as exc:  # noqa: BLE001 -- in the background there is no other place where anybody would see it
        _log.exception("The supervisor ends.")
        _say(report, {"error": f"{type(exc).__name__}: {exc}"})
        return 1
    return 0


def _supervise(directory: DataDirectory, *, wanted_port: int | None, owned: bool, report: TextIO) -> None:
    with held(directory.supervisor_lock, within_s=_SUPERVISOR_LOCK_TIMEOUT_S) as mine:
        if mine is None:
            # Whoever asked finds the other one by its record.
            _say(report, {"taken": True})
            return
        _log_to(directory.log_path)
        with held(directory.engine_lock, within_s=_ENGINE_LOCK_TIMEOUT_S) as lock:
            if lock is None:
                raise ServiceError(f"An engine still runs on {directory.path}.")
            directory.remove_record()
            engine = installed_engine()
            directory.create(engine.template)
            asyncio.run(_run(Supervisor(directory, engine, lock, wanted_port), owned=owned, report=report))
            directory.remove_record()


async def _run(supervisor: Supervisor, *, owned: bool, report: TextIO) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.stopping.set)
    if owned:
        owner = sys.stdin.fileno()
        loop.add_reader(owner, lambda: (supervisor.stopping.set(), loop.remove_reader(owner)))
    await supervisor.run(report)


def _is_free(port: int) -> bool:
    # As Node will bind it: a connection of the last server that lingers doesn't count.
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _into_background() -> TextIO:
    """Let the process that was started end, go on as a daemon, and keep only the way to report."""
    report = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    if os.fork() > 0:
        os._exit(0)
    os.setsid()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    return report


def _say(report: TextIO, message: dict[str, object]) -> None:
    """Report once and close the way, so that nobody waits for more."""
    with suppress(BrokenPipeError), report:
        report.write(f"{json.dumps(message)}\n")


def _log_to(path: Path) -> None:
    handler = RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=1, encoding="utf-8")
    formatter = logging.Formatter("%(asctime)sZ %(levelname)s %(message)s")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    _log.addHandler(handler)
    _log.setLevel(logging.INFO)


if __name__ == "__main__":
    sys.exit(main())
