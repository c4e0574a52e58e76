"""Where tasks and flows get the database and the exchanges from: the environment's settings.

Nothing is kept open here: whoever opens something closes it.
"""

from contextlib import AbstractAsyncContextManager

from tapehouse.config import settings_from_environment
from tapehouse.exchange import Exchange
from tapehouse.ingest.venue import open_shared_exchange
from tapehouse.store.address import database_url
from tapehouse.store.connection import Connection, connect


def open_database() -> Connection:
    """A connection to the database of TAPEHOUSE_DATABASE_URL, else to the running embedded one."""
    return connect(database_url(None))


def open_exchange(exchange_id: str) -> AbstractAsyncContextManager[Exchange]:
    """The exchange of that name, at the pace that all keep together, through TAPEHOUSE_EXCHANGE_URL if that is set."""
    return open_shared_exchange(exchange_id, database_url(None), base_url=settings_from_environment().exchange_url)
