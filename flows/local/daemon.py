"""A process that goes on in the background: started, found again by whoever comes later, stopped.

It inherits a locked file. As long as it lives the kernel holds the lock, so a pid that was written down is never
taken for that of another process. What it is and when it is ready is told in `flows.local.stack`.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tapehouse.errors import ServiceError

_POLL_S: Final = 0.1
_STOP_S: Final = 20.0
_LAST_WORDS: Final = 5


@dataclass(frozen=True, slots=True)
class Daemon:
    """A background process of that name, whose files are in a folder."""

    name: str
    folder: Path

    @property
    def log_path(self) -> Path:
        """What it says, the last time it was started."""
        return self._file("log")

    @property
    def pid(self) -> int | None:
        """Its process id, or None if it doesn't run."""
        return self._record().get("pid") if self.is_running() else None

    @property
    def port(self) -> int | None:
        """The port it listens on, or did the last time."""
        return self._record().get("port")

    def is_running(self) -> bool:
        """Whether it lives."""
        if not self._lock_path.exists():
            return False
        with self._lock_path.open("a") as lock:
            try:
                # Shared, so that who else asks at this moment is not taken for it.
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def start(self, arguments: Sequence[str], environment: Mapping[str, str], *, port: int | None = None) -> None:
        """Start Python with these arguments; it outlives this process, and doesn't hear its Ctrl-C."""
        with self._lock_path.open("a") as lock, self.log_path.open("wb") as log:
            fcntl.flock(lock, fcntl.LOCK_EX)
            process = subprocess.Popen(  # noqa: S603 -- our own interpreter
                [sys.executable, *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[lock.fileno()],
                start_new_session=True,
            )
            # It is not waited for: whether it lives is what the lock says.
            process.returncode = 0
            self._record_path.write_text(json.dumps({"pid": process.pid, "port": port}))

    def await_ready(self, is_ready: Callable[[], bool], *, within_s: float) -> None:
        """Wait until it does what it is for; raises ServiceError with its last words if it ends or never does."""
        deadline_s = time.monotonic() + within_s
        while not is_ready():
            if not self.is_running() or time.monotonic() > deadline_s:
                said = self.log_path.read_text(errors="replace").strip().splitlines()[-_LAST_WORDS:]
                how = "did not become ready" if self.is_running() else "ended"
                raise ServiceError(f"The {self.name} {how}: see {self.log_path}.\n" + "\n".join(said))
            time.sleep(_POLL_S)

    def stop(self) -> bool:
        """Ask it to end, and end it if it doesn't; False if it didn't run."""
        pid = self.pid
        if pid is None:
            return False
        for number, within_s in ((signal.SIGTERM, _STOP_S), (signal.SIGKILL, _STOP_S)):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
            deadline_s = time.monotonic() + within_s
            while self.is_running() and time.monotonic() < deadline_s:
                time.sleep(_POLL_S)
            if not self.is_running():
                return True
        raise ServiceError(f"The {self.name} (process {pid}) does not end: see {self.log_path}.")

    @property
    def _lock_path(self) -> Path:
        return self._file("lock")

    @property
    def _record_path(self) -> Path:
        return self._file("json")

    def _file(self, suffix: str) -> Path:
        return self.folder / f"{self.name.lower().replace(' ', '-')}.{suffix}"

    def _record(self) -> dict[str, int | None]:
        try:
            return json.loads(self._record_path.read_text())
        except (FileNotFoundError, ValueError):
            return {}
