"""Connections for reading: each answer is one read-only snapshot, and a restarted server is found again."""

import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, perf_counter, sleep
from typing import Final, Self, TypeVar

from psycopg import IsolationLevel
from psycopg_pool import ConnectionPool, PoolTimeout

from tapehouse.errors import StoreError, StoreRefused, StoreUnreachable
from tapehouse.store.arrays import register_columns
from tapehouse.store.connection import CONNECT_OPTIONS, Connection, connect, is_embedded, store_errors
from tapehouse.store.sql import query

# Reads that run at the same time; further threads wait their turn.
MOST_CONNECTIONS: Final = 8
_LONGEST_TURN_S: Final = 60.0
# A server that is restarted is waited for so long; one that was never reached is not.
_LONGEST_OUTAGE_S: Final = 20.0

# What is lost and found again is told by errors, if at all: not also on the terminal of who has set up no logging.
logging.getLogger("psycopg").addHandler(logging.NullHandler())

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ReadStats:
    """Reads of the database: how many, how long they took in ms (of the last thousand; NaN before any).

    `reconnections` is how often it had been restarted or lost, `most_connections` how many run at a time.
    """

    queries: int
    p50_ms: float
    p99_ms: float
    reconnections: int
    most_connections: int


class MustRead(Exception):
    """What was asked for `from_memory` is not there."""


class _Thread(threading.local):
    may_read = True


_thread: Final = _Thread()


def from_memory(work: Callable[[], T]) -> T:
    """What the work gives if that needs no reading; raises MustRead, having waited for nothing, if it does."""
    _thread.may_read = False
    try:
        return work()
    finally:
        _thread.may_read = True


class Reader:
    """A pool of connections to one database, for any number of threads, and for processes that are forked."""

    def __init__(self, url: str, pool: ConnectionPool[Connection]) -> None:
        self._url = url
        self._pool = pool
        self._process = os.getpid()
        self._reopening = threading.Lock()
        self._is_closed = False
        self._lost_at_s: float | None = None
        self._reads = self._reconnections = 0
        self._taken_ms: deque[float] = deque(maxlen=1000)

    @classmethod
    def connect(cls, url: str) -> Self:
        """Connect to a PostgreSQL URL.

        Raises StoreUnreachable where nothing answers, StoreRefused for a wrong user, password or
        database name.
        """
        # The pool only says that it waited in vain; this says why.
        connect(url).close()
        return cls(url, _open_pool(url))

    def close(self) -> None:
        """Close all connections."""
        self._is_closed = True
        if self._process == os.getpid():
            self._pool.close()

    def stats(self) -> ReadStats:
        """How often the database was read, and how long the last thousand times took."""
        taken_ms = sorted(self._taken_ms)
        p50, p99 = (taken_ms[int(share * (len(taken_ms) - 1))] if taken_ms else float("nan") for share in (0.5, 0.99))
        return ReadStats(self._reads, p50, p99, self._reconnections, MOST_CONNECTIONS)

    def read(self, work: Callable[[Connection], T], *, patience_s: float = _LONGEST_OUTAGE_S) -> T:
        """What the work gives, which is all done in one snapshot; raises StoreError.

        A server that is lost is waited for: so long as the patience lasts, and until it has been gone for too long.
        """
        if not _thread.may_read:
            raise MustRead
        began_at_s = monotonic()
        tries = 0
        while True:
            pool = self._open(began_at_s + patience_s)
            try:
                return self._try(pool, work)
            except StoreUnreachable:
                self._lose(pool)
                tries += 1
                if self._is_closed or (tries > 1 and monotonic() > began_at_s + patience_s):
                    raise

    def _lose(self, pool: ConnectionPool[Connection]) -> None:
        """Give up a pool: the server has lost the other connections in it too. Those who wait for one are told."""
        self._lost_at_s = self._lost_at_s or monotonic()
        pool.close(timeout=0)

    def _open(self, given_up_at_s: float) -> ConnectionPool[Connection]:
        """The pool, or a new one where that was lost; waits until the server answers."""
        if self._is_closed:
            raise StoreUnreachable("This MarketData is closed: connect a new one.")
        if self._process != os.getpid():
            self._leave_to_parent()
        while self._pool.closed:
            self._wait_for_server(given_up_at_s)
            with self._reopening:
                if self._pool.closed and not self._is_closed:
                    self._reconnections += 1
                    self._lost_at_s = None
                    self._pool = _open_pool(self._url)
        return self._pool

    def _leave_to_parent(self) -> None:
        """Connections of the process that this one was forked from are its own: two that use one garble both."""
        _of_parents.append(self._pool)
        self._reopening = threading.Lock()
        self._pool, self._process = _open_pool(self._url), os.getpid()

    def _wait_for_server(self, given_up_at_s: float) -> None:
        pause_s = 0.05
        while True:
            try:
                connect(self._url).close()
            except StoreRefused:
                raise
            except StoreUnreachable:
                lost_at_s = self._lost_at_s or monotonic()
                if monotonic() + pause_s > min(given_up_at_s, lost_at_s + _LONGEST_OUTAGE_S):
                    raise
                sleep(pause_s)
                pause_s *= 2
            else:
                return

    def _try(self, pool: ConnectionPool[Connection], work: Callable[[Connection], T]) -> T:
        started_s = perf_counter()
        try:
            with store_errors(), pool.connection() as connection:
                done = work(connection)
        except StoreUnreachable as exc:
            if isinstance(exc.__cause__, PoolTimeout):
                raise StoreError(
                    f"All {MOST_CONNECTIONS} connections were busy for {_LONGEST_TURN_S:.0f} s: "
                    "read less at a time, or from fewer threads."
                ) from exc
            raise
        self._reads += 1
        self._taken_ms.append(1000 * (perf_counter() - started_s))
        return done


# Pools of processes that this one was forked from: kept, so that nobody ends their connections.
_of_parents: Final[list[ConnectionPool[Connection]]] = []


def _open_pool(url: str) -> ConnectionPool[Connection]:
    return ConnectionPool(
        url,
        connection_class=Connection,
        kwargs=CONNECT_OPTIONS,
        configure=_prepare_reader,
        min_size=1,
        max_size=MOST_CONNECTIONS,
        timeout=_LONGEST_TURN_S,
        open=True,
    )


def _prepare_reader(connection: Connection) -> None:
    """Make every transaction of the connection one read-only snapshot.

    All of an answer must come from one, because a writer may widen an instrument's scale, and
    with it every stored number, at any time.
    """
    register_columns(connection)
    connection.execute(query("use_utc"))
    if is_embedded(connection):
        # Its clients share one session, so statements are prepared without a name, and no setting is a client's own.
        connection.prepare_threshold = None
    else:
        connection.execute(query("limit_statements"))
    connection.commit()
    connection.isolation_level = IsolationLevel.REPEATABLE_READ
    connection.read_only = True
