"""Advisory locks: one process at a time, for work that row locks can't guard."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from psycopg.pq import TransactionStatus

from tapehouse.errors import StoreError
from tapehouse.store.connection import Connection
from tapehouse.store.sql import query

_POLL_S: Final = 0.1


@contextmanager
def advisory_lock(connection: Connection, key: int, *, wait_s: float, busy: str) -> Generator[None]:
    """Hold the session's advisory lock of that key; raises StoreError(busy) after waiting in vain.

    The embedded database's clients share one session; its front end keeps their locks apart.
    """
    deadline_s = time.monotonic() + wait_s
    # Polled, because a session that waits inside pg_advisory_lock holds a snapshot, which
    # CREATE INDEX CONCURRENTLY and its kind would wait for.
    while connection.execute(query("try_lock"), {"key": key}).fetchone() != (True,):
        if time.monotonic() > deadline_s:
            raise StoreError(busy)
        time.sleep(_POLL_S)
    try:
        yield
    finally:
        if connection.info.transaction_status == TransactionStatus.ACTIVE:
            # Ctrl-C left a statement under way for whose answer nobody waits: the lock goes with the connection.
            connection.close()
        elif not connection.closed:
            connection.execute(query("release_lock"), {"key": key})
