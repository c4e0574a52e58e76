"""What has changed in the database since something was read: heard from the database itself, by a thread of its own.

Every transaction that can change an answer says so once it is committed (`sql/migrations/0015_notify_changes.sql`).
While nothing can be heard, everything may have changed.
"""

import os
import selectors
import socket
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

import psycopg

from tapehouse.errors import StoreError
from tapehouse.store.connection import Connection, connect, one_row
from tapehouse.store.sql import query

# How often the thread says something itself, to find out whether anybody is there.
_SILENCE_S: Final = 5.0
_LONGEST_PAUSE_S: Final = 5.0


class Changes:
    """Tells whether anything of an instrument may have changed since a moment; any number of threads may ask.

    Moments are numbers that grow with every change: `moment()` gives the present one.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._moment = 0
        # Of all instruments: since then each change was heard.
        self._heard_since = 0
        self._changed: dict[int, int] = {}
        self._is_listening = False
        self._news = threading.Event()
        self._closed = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._process = os.getpid()
        self._clock: tuple[datetime, float] | None = None

    def start(self) -> None:
        """Begin to listen, if that has not begun yet."""
        if self._thread is None or self._process != os.getpid():
            with self._starting:
                self._start()

    def close(self) -> None:
        """Stop listening; returns when the connection is closed."""
        self._closed.set()
        self._is_listening = False
        if self._thread is not None and self._process == os.getpid():
            # The thread takes its bell down when it ends.
            with suppress(OSError):
                self._button.send(b"!")
            self._thread.join()

    @property
    def is_listening(self) -> bool:
        """Whether changes are heard at present."""
        return self._is_listening and self._process == os.getpid()

    def moment(self) -> int:
        """Now, as a number; to be taken before what is kept is read."""
        return self._moment

    def has_changed(self, instrument_id: int, since: int) -> bool:
        """Whether anything of the instrument may have changed since that moment."""
        return not self.is_listening or since < self._heard_since or since < self._changed.get(instrument_id, 0)

    def wait(self, timeout_s: float) -> bool:
        """Wait for something to change, for one waiter; whether anything has."""
        has_changed = self._news.wait(timeout_s)
        self._news.clear()
        return has_changed

    def wake(self) -> None:
        """Let who waits go on, as if something had changed."""
        self._news.set()

    def set_clock(self, as_of: datetime) -> None:
        """Note that the server's clock shows at least that time."""
        self._clock = as_of, time.monotonic()

    def now(self) -> datetime | None:
        """The time by the server's clock, or slightly less; None if it was never told."""
        if self._clock is None:
            return None
        as_of, told_at = self._clock
        return as_of + timedelta(seconds=time.monotonic() - told_at)

    def _start(self) -> None:
        if self._process != os.getpid():
            # A thread does not live on in a forked process.
            self._process, self._thread, self._is_listening = os.getpid(), None, False
        if self._thread is None and not self._closed.is_set():
            self._button, bell = socket.socketpair()
            self._thread = threading.Thread(target=self._run, args=[bell], name="tapehouse-changes", daemon=True)
            self._thread.start()

    def _run(self, bell: socket.socket) -> None:
        pause_s = 0.1
        with bell, self._button:
            while not self._closed.is_set():
                with suppress(StoreError, psycopg.Error, OSError):
                    with connect(self._url) as connection:
                        self._listen(connection, bell)
                    pause_s = 0.1
                self._is_listening = False
                self._closed.wait(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _listen(self, connection: Connection, bell: socket.socket) -> None:
        connection.execute(query("listen_to_changes"))
        self._moment += 1
        self._heard_since = self._moment
        self._is_listening = True
        asked_at_s = time.monotonic()
        with selectors.DefaultSelector() as sources:
            sources.register(connection, selectors.EVENT_READ)
            sources.register(bell, selectors.EVENT_READ)
            while not self._closed.is_set():
                for notice in connection.notifies(timeout=0):
                    self._hear(notice.payload)
                if time.monotonic() - asked_at_s > _SILENCE_S:
                    # Raises if the server is gone without a word.
                    (now,) = one_row(connection.execute(query("read_clock")))
                    self.set_clock(now.astimezone(UTC))
                    asked_at_s = time.monotonic()
                    # Notices may have come with the answer.
                    continue
                sources.select(_SILENCE_S)

    def _hear(self, payload: str) -> None:
        self._moment += 1
        if payload.isdecimal():
            self._changed[int(payload)] = self._moment
        else:
            self._heard_since = self._moment
        self._news.set()
