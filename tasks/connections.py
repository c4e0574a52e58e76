"""Where tasks and flows get the database and the exchanges from: the environment's settings.

Nothing is kept open here: whoever opens something closes it.
"""

from contextlib import AbstractAsyncContextManager

from tapehouse import exchange
from tapehouse.config import settings_from_environment
from tapehouse.store.address import database_url
from tapehouse.store.connection import Connection, connect


def open_database() -> Connection:
    """A connection to the database of TAPEHOUSE_DATABASE_URL, else to the running embedded one."""
    return connect(database_url(None))


def open_exchange(exchange_id: str) -> AbstractAsyncContextManager[exchange.Exchange]:
    """The exchange of that name, asked through TAPEHOUSE_EXCHANGE_URL if that is set."""
    return exchange.open_exchange(exchange_id, base_url=settings_from_environment().exchange_url)
