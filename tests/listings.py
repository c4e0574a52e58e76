"""Markets made up for tests: each of an exchange of its own, and like the others where nothing else is said."""

from dataclasses import replace
from typing import Any, Final
from uuid import uuid4

from tapehouse.instrument import Instrument, Listing
from tapehouse.store.connection import Connection
from tapehouse.store.instruments import find_instrument, sync_listings

_BTC_USDT: Final = Listing(
    exchange="",
    symbol="BTC/USDT",
    base="BTC",
    quote="USDT",
    settle=None,
    kind="spot",
    contract_size=None,
    amount_unit="base",
    trade_unit="base",
    tick_size=0.01,
    lot_size=0.001,
    price_decimals=2,
    amount_decimals=3,
    active=True,
    from_sandbox=False,
    raw={},
)


def made_up_listing(**said: Any) -> Listing:
    """A market as an exchange lists it, with the fields of `Listing` that are said."""
    return replace(_BTC_USDT, **{"exchange": f"exchange-{uuid4().hex[:12]}", **said})


def stored_instrument(connection: Connection, **said: Any) -> Instrument:
    """Such a market, stored."""
    listing = made_up_listing(**said)
    sync_listings(connection, listing.exchange, [listing])
    return find_instrument(connection, listing.exchange, listing.symbol)
