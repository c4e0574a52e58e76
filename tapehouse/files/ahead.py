"""Doing one thing ahead: the next item is made in a thread while the one before it is used."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

T = TypeVar("T")


class _End:
    """Stands for no item any more."""


_END: Final = _End()


def one_ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items; each is asked for as soon as the one before it is handed out, and what that raises is raised."""
    with ThreadPoolExecutor(1, thread_name_prefix="tapehouse-ahead") as thread:
        coming: Future[T | _End] = thread.submit(next, items, _END)
        while not isinstance(item := coming.result(), _End):
            coming = thread.submit(next, items, _END)
            yield item
