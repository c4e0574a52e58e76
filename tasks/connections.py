"""Where tasks and flows get the database and the exchanges from: the environment's settings.

Whoever opens something closes it. Where many tasks follow each other, `sharing_databases` lets them hand on their
connections: a task takes milliseconds, and so does connecting.
"""

from collections.abc import Generator
from contextlib import AbstractAsyncContextManager, contextmanager
from contextvars import ContextVar

from tapehouse.config import settings_from_environment
from tapehouse.exchange import Exchange
from tapehouse.ingest.venue import open_shared_exchange
from tapehouse.store.address import database_url
from tapehouse.store.connection import Connection, connect

# Of the run at work: connections that no task uses at the moment.
_free: ContextVar[list[Connection] | None] = ContextVar("_free", default=None)


@contextmanager
def open_database() -> Generator[Connection]:
    """A connection to the database of TAPEHOUSE_DATABASE_URL, else to the running embedded one."""
    free = _free.get()
    connection = free.pop() if free else connect(database_url(None))
    try:
        yield connection
    except BaseException:
        connection.close()
        # What broke this one may have broken them all; whoever tries again is to have a new one.
        _close_all(free or [])
        raise
    if free is None or connection.closed:
        connection.close()
    else:
        free.append(connection)


@contextmanager
def sharing_databases() -> Generator[None]:
    """Let the tasks that are run in the block hand on their connections to each other, until it ends."""
    free: list[Connection] = []
    token = _free.set(free)
    try:
        yield
    finally:
        _free.reset(token)
        _close_all(free)


def _close_all(connections: list[Connection]) -> None:
    while connections:
        connections.pop().close()


def open_exchange(exchange_id: str) -> AbstractAsyncContextManager[Exchange]:
    """The exchange of that name, at the pace that all keep together, through TAPEHOUSE_EXCHANGE_URL if that is set."""
    return open_shared_exchange(exchange_id, database_url(None), base_url=settings_from_environment().exchange_url)
