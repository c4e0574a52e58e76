"""What has changed in the database since something was read: heard from the database itself, by a thread of its own.

Every transaction that can change an answer says so once it is committed (`sql/migrations/0015_notify_changes.sql`).
While nothing can be heard, everything may have changed.
"""

import os
import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC
from typing import Final
from uuid import uuid4

import psycopg

from tapehouse.errors import StoreError, StoreUnreachable
from tapehouse.query.clock import Clock
from tapehouse.store.connection import Connection, connect, one_row
from tapehouse.store.sql import query

# How often the thread says something itself, to find out whether anybody is there, and how long it is believed to hear
# without an answer.
_SILENCE_S: Final = 2.0
_MUTE_S: Final = 5.0
_LONGEST_PAUSE_S: Final = 5.0
_PATIENCE_S: Final = 2.0
# What begins so is no change: somebody tries whether he hears.
_PROBE: Final = "?"
_ID_DIGITS: Final = 18


class Changes:
    """Tells whether anything of an instrument may have changed since a moment; any number of threads may ask.

    Moments are numbers that grow with every change: `moment()` gives the present one.
    """

    def __init__(self, url: str, clock: Clock) -> None:
        self._url, self._clock = url, clock
        self._moment = 0
        # Of all instruments: since then each change was heard.
        self._heard_since = 0
        self._changed: dict[int, int] = {}
        self._is_listening = False
        self._answered_at_s = 0.0
        self._news = threading.Event()
        self._told: tuple[Callable[[], None], ...] = ()
        self._closed = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._process = os.getpid()

    def start(self) -> None:
        """Begin to listen, if that has not begun yet."""
        if self._thread is None or self._process != os.getpid():
            with self._starting:
                self._start()

    def close(self) -> None:
        """Stop listening; returns when the connection is closed, or soon if it does not answer."""
        self._closed.set()
        self._is_listening = False
        if self._thread is not None and self._process == os.getpid():
            # The thread takes its bell down when it ends.
            with suppress(OSError):
                self._button.send(b"!")
            self._thread.join(_PATIENCE_S)

    @property
    def is_listening(self) -> bool:
        """Whether changes are heard at present."""
        answers = time.monotonic() - self._answered_at_s < _MUTE_S
        return self._is_listening and answers and self._process == os.getpid()

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

    def tell(self, told: Callable[[], None]) -> None:
        """Have it called by the thread that listens, whenever something has changed; it may neither wait nor raise."""
        with self._starting:
            self._told = (*self._told, told)

    def tell_no_more(self, told: Callable[[], None]) -> None:
        """Have it called no more."""
        with self._starting:
            self._told = tuple(one for one in self._told if one is not told)

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
                heard_since = self._heard_since
                with suppress(StoreError, psycopg.Error, OSError):
                    self._listen(bell)
                self._is_listening = False
                self._closed.wait(pause_s)
                pause_s = 0.1 if self._heard_since > heard_since else min(2 * pause_s, _LONGEST_PAUSE_S)

    def _listen(self, bell: socket.socket) -> None:
        with connect(self._url) as connection, selectors.DefaultSelector() as sources:
            connection.execute(query("listen_to_changes"))
            sources.register(connection, selectors.EVENT_READ)
            sources.register(bell, selectors.EVENT_READ)
            self._prove(connection, sources)
            self._moment += 1
            self._heard_since = self._moment
            self._is_listening = True
            while not self._closed.is_set():
                if time.monotonic() - self._answered_at_s > _SILENCE_S:
                    self._ask(connection)
                for notice in connection.notifies(timeout=0):
                    self._hear(notice.payload)
                sources.select(_SILENCE_S)

    def _prove(self, connection: Connection, sources: selectors.BaseSelector) -> None:
        """Return once a word from another connection was heard: through a pooler of transactions none ever is."""
        word = f"{_PROBE}{uuid4()}"
        with connect(self._url) as another:
            another.execute(query("notify_word"), {"word": word})
        until_s = time.monotonic() + _MUTE_S
        while not self._closed.is_set():
            for notice in connection.notifies(timeout=0):
                if notice.payload == word:
                    self._answered_at_s = time.monotonic()
                    return
            if time.monotonic() > until_s:
                raise StoreUnreachable("What the database says of changes does not arrive.")
            sources.select(_SILENCE_S)

    def _ask(self, connection: Connection) -> None:
        """Raise if the server is gone without a word."""
        asked_at_s = time.monotonic()
        (now,) = one_row(connection.execute(query("read_clock")))
        self._clock.note(now.astimezone(UTC), asked_at_s)
        self._answered_at_s = time.monotonic()

    def _hear(self, payload: str) -> None:
        if payload.startswith(_PROBE):
            return
        self._moment += 1
        if payload.isdecimal() and len(payload) <= _ID_DIGITS:
            self._changed[int(payload)] = self._moment
        else:
            self._heard_since = self._moment
        self._news.set()
        for told in self._told:
            told()
