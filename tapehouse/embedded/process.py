"""The engine's Node process as the supervisor sees it: started, ready on a port, stopped, its words in the log.

Whether and when to start it again is decided in `tapehouse.embedded.supervisor`.
"""

import asyncio
import json
import logging
import resource
import signal
from asyncio.subprocess import PIPE, Process
from collections import deque
from contextlib import suppress
from typing import Self, TextIO, cast

from tapehouse.embedded.directory import DataDirectory
from tapehouse.embedded.engine import NODE_SOURCES, Engine
from tapehouse.errors import ServiceError

# frontend.mjs ends the process by itself after 8 s.
_STOP_TIMEOUT_S = 10.0

# What Node's main thread keeps of its stack for itself, and what it is given if there is no limit.
_STACK_RESERVE_KB = 1024
_STACK_UNLIMITED_KB = 8192

_log = logging.getLogger("tapehouse.embedded")


class EngineProcess:
    """A running Node process; make one with `launch`."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._last_words: deque[str] = deque(maxlen=3)
        self._logging = asyncio.create_task(self._log_stderr())

    @classmethod
    async def launch(cls, engine: Engine, directory: DataDirectory, *, lock: TextIO, port: int) -> Self:
        """Start Node on the data directory; it holds the lock for as long as it lives. Port 0 is any free one."""
        config = {"engineDir": str(engine.directory), "dataDir": str(directory.path), "port": port}
        process = await asyncio.create_subprocess_exec(
            engine.node,
            f"--stack-size={_stack_kb()}",
            NODE_SOURCES / "main.mjs",
            json.dumps(config),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            pass_fds=[lock.fileno()],
        )
        return cls(process)

    async def ready(self) -> int:
        """The port it listens on, once it does; raises ServiceError if it ended before."""
        line = await cast("asyncio.StreamReader", self._process.stdout).readline()
        if line:
            return int(line)
        await self.wait()
        raise ServiceError(" | ".join(self._last_words) or f"the engine ended with {self.ending}")

    async def wait(self) -> None:
        """Wait until it has ended and all it said is in the log."""
        await self._process.wait()
        await self._logging

    async def stop(self) -> None:
        """End it cleanly, or by force if that takes too long."""
        stdin = cast("asyncio.StreamWriter", self._process.stdin)
        with suppress(ConnectionError):
            stdin.close()
            await stdin.wait_closed()
        try:
            await asyncio.wait_for(self._process.wait(), _STOP_TIMEOUT_S)
        except TimeoutError:
            _log.warning("The engine does not stop: it is killed, and recovers from its log at the next start.")
            self._process.kill()
        await self.wait()

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        code = self._process.returncode
        if code is None:
            return "no end yet"
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    async def _log_stderr(self) -> None:
        async for line in cast("asyncio.StreamReader", self._process.stderr):
            text = line.decode(errors="replace").rstrip()
            self._last_words.append(text)
            _log.info("engine: %s", text)


def _stack_kb() -> int:
    """How deep nested SQL may go: Node uses an eighth of the stack that it has unless it is told to use more."""
    soft_bytes, _ = resource.getrlimit(resource.RLIMIT_STACK)
    limit_kb = _STACK_UNLIMITED_KB if soft_bytes == resource.RLIM_INFINITY else soft_bytes // 1024
    return max(min(limit_kb, _STACK_UNLIMITED_KB) - _STACK_RESERVE_KB, _STACK_RESERVE_KB)
