"""The rate budget of an exchange, which all processes share that use the database.

A budget is a time line that processes reserve slices of, by the database server's clock. What they do with
a slice is `tapehouse.exchange.pacing`'s business.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import uuid4

import psycopg
from psycopg.sql import SQL

from tapehouse.errors import StoreUnreachable
from tapehouse.store.connection import Connection, connect, one_row, store_errors
from tapehouse.store.sql import query


class RateBudget:
    """One exchange's budget, over a connection of its own that is opened when first needed; for one thread at a time.

    `address` tells apart the ways to the exchange: what is asked through a gateway counts there, and '' stands
    for the exchange's own address. A lost connection is opened again once, then StoreUnreachable is raised.
    """

    def __init__(self, database_url: str, exchange: str, address: str) -> None:
        self._database_url = database_url
        self._keys = {"exchange": exchange, "address": address, "holder": uuid4()}
        self._connection: Connection | None = None

    def reserve(self, length: timedelta) -> tuple[float, bool]:
        """Reserve the next slice: in how many seconds it begins, and whether the one before was another's."""
        begins_in_s, is_sharing = one_row(self._execute(query("reserve_slice"), {"length": length}))
        return begins_in_s, is_sharing

    def defer(self, quiet: timedelta) -> None:
        """Let no slice begin for so long, apart from those that are reserved already."""
        self._execute(query("defer_budget"), {"quiet": quiet})

    def close(self) -> None:
        """Close the connection, if one is open."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _execute(self, statement: SQL, parameters: Mapping[str, object]) -> psycopg.Cursor[tuple[Any, ...]]:
        if self._connection is not None:
            try:
                with store_errors():
                    return self._connection.execute(statement, {**self._keys, **parameters})
            except StoreUnreachable:
                # Nothing else may be lost than this connection.
                self.close()
        self._connection = connect(self._database_url)
        with store_errors():
            # Those of gateways and sandboxes that nobody asks any more.
            self._connection.execute(query("delete_past_budgets"))
            return self._connection.execute(statement, {**self._keys, **parameters})
