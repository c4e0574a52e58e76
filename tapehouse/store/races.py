"""What another session did meanwhile, and doing a transaction again because of it."""

import time
from collections.abc import Callable
from typing import Final, TypeVar

from psycopg import errors

from tapehouse.errors import StoreError

T = TypeVar("T")

# Doubled each time: half a minute in all.
_WAITS_S: Final = tuple(0.2 * 2**attempt for attempt in range(7))
_RACES: Final = (errors.DeadlockDetected, errors.SerializationFailure, errors.LockNotAvailable)


def try_again(act: Callable[[], T], *, busy: str) -> T:
    """Do something, again a little later where another session was in its way; raises StoreError(busy) in the end.

    What it does is undone where it fails: a transaction, or a statement that is one.
    """
    for wait_s in _WAITS_S:
        try:
            return act()
        except _RACES:
            time.sleep(wait_s)
    try:
        return act()
    except _RACES as exc:
        raise StoreError(busy) from exc
