"""What exchanges change about their markets is told, kept, and changes no stored number."""

import threading
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

import numpy as np
import pytest

from tapehouse.candle import CandleBatch
from tapehouse.instrument import Listing
from tapehouse.store.candles import write_candles
from tapehouse.store.connection import Connection, connect
from tapehouse.store.instruments import (
    SyncResult,
    ensure_candle_series,
    find_instrument,
    read_listing_changes,
    sync_listings,
)
from tapehouse.timeframe import timeframe, to_us
from tests.listings import made_up_listing

START: Final = datetime(2025, 5, 1, tzinfo=UTC)


@pytest.fixture
def listings() -> list[Listing]:
    """Two markets of an exchange of its own."""
    exchange = f"exchange-{uuid4().hex[:12]}"

    return [made_up_listing(exchange=exchange, symbol=f"{base}/USDT", base=base) for base in ("BTC", "ETH")]


def sync(connection: Connection, *listings: Listing) -> SyncResult:
    return sync_listings(connection, listings[0].exchange, listings)


def told(result: SyncResult) -> list[tuple[str, str, str, str | None]]:
    return [(one.symbol, one.what, one.before, one.after) for one in result.changes]


def test_the_first_sync_brings_new_markets_and_no_changes(connection: Connection, listings: list[Listing]):
    first = sync(connection, *listings)
    assert (first.listed, first.new, first.changes) == (2, ("BTC/USDT", "ETH/USDT"), ())

    again = sync(connection, *listings)
    assert (again.listed, again.new, again.changes) == (2, (), ())
    assert read_listing_changes(connection, listings[0].exchange) == []


def test_a_new_listing_and_a_delisting_are_told_and_kept(connection: Connection, listings: list[Listing]):
    bitcoin, ether = listings
    sync(connection, bitcoin)

    changed = sync(connection, ether)

    assert (changed.new, changed.delisted, changed.relisted, changed.changed) == (("ETH/USDT",), ("BTC/USDT",), (), ())
    assert read_listing_changes(connection, bitcoin.exchange) == list(changed.changes)
    assert told(sync(connection, ether)) == []
    back = sync(connection, bitcoin, ether)
    assert (back.new, back.delisted, back.relisted) == ((), (), ("BTC/USDT",))


def test_a_market_that_is_listed_as_not_traded_is_delisted(connection: Connection, listings: list[Listing]):
    bitcoin, ether = listings
    sync(connection, bitcoin, ether)

    assert sync(connection, replace(bitcoin, active=False), ether).delisted == ("BTC/USDT",)
    # What is no longer traded is not delisted once more when it goes from the list.
    assert sync(connection, ether).changes == ()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"tick_size": 0.001, "price_decimals": 3}, [("tick_size", "0.01", "0.001")]),
        ({"tick_size": 0.05}, [("tick_size", "0.01", "0.05")]),
        ({"lot_size": 1e-5, "amount_decimals": 5}, [("lot_size", "0.001", "1e-05")]),
        ({"tick_size": None}, [("tick_size", "0.01", None)]),
        (
            {"contract_size": 0.1, "trade_unit": "contract", "amount_unit": "contract"},
            [("amount_unit", "base", "contract"), ("trade_unit", "base", "contract")],
        ),
        ({"raw": {"status": "TRADING"}}, []),
    ],
)
def test_changed_precision_and_units_are_told(
    connection: Connection,
    listings: list[Listing],
    changes: dict[str, Any],
    expected: list[tuple[str, str, str | None]],
):
    bitcoin, ether = listings
    sync(connection, bitcoin, ether)

    result = sync(connection, replace(bitcoin, **changes), ether)

    assert told(result) == [("BTC/USDT", *one) for one in expected]
    assert result.changed == result.changes
    assert [one.what for one in read_listing_changes(connection, bitcoin.exchange)] == [one[0] for one in expected]


def test_what_was_not_known_before_has_not_changed(connection: Connection, listings: list[Listing]):
    bitcoin, _ = listings
    sync(connection, replace(bitcoin, lot_size=None))

    assert sync(connection, bitcoin).changes == ()
    assert find_instrument(connection, bitcoin.exchange, bitcoin.symbol).lot_size == 0.001


@pytest.mark.parametrize(("tick_size", "price_decimals"), [(0.0001, 4), (1.0, 0)])
def test_a_changed_precision_changes_no_stored_number(
    connection: Connection, listings: list[Listing], tick_size: float, price_decimals: int
):
    bitcoin, _ = listings
    sync(connection, bitcoin)
    stored_before = _write(connection, bitcoin, 0, 64_000.12)

    sync(connection, replace(bitcoin, tick_size=tick_size, price_decimals=price_decimals))

    instrument = find_instrument(connection, bitcoin.exchange, bitcoin.symbol)
    assert (instrument.tick_size, instrument.price_decimals, instrument.amount_decimals) == (tick_size, 2, 3)
    assert _read(connection, bitcoin) == [64_000.12]
    # What is as fine as announced, or finer, is stored exactly all the same, and so stays what there was.
    stored_after = _write(connection, bitcoin, 1, 64_000.1234)
    assert _read(connection, bitcoin) == [64_000.12, 64_000.1234]
    assert stored_after > stored_before


def test_two_syncs_at_a_time_tell_of_a_change_once(connection: Connection, listings: list[Listing], store_url: str):
    bitcoin, _ = listings
    sync(connection, bitcoin)
    finer = replace(bitcoin, tick_size=0.001)
    waited: list[SyncResult] = []
    with connect(store_url) as other:
        second = threading.Thread(target=lambda: waited.append(sync(other, finer)))
        with connection.transaction():
            first = sync(connection, finer)
            second.start()
        second.join()

    assert [len(one.changes) for one in (first, *waited)] == [1, 0]
    assert len(read_listing_changes(connection, bitcoin.exchange)) == 1


def _write(connection: Connection, listing: Listing, minute: int, price: float) -> int:
    """Write a candle at one price; returns the decimals that prices are kept with then."""
    instrument = find_instrument(connection, listing.exchange, listing.symbol)
    series = ensure_candle_series(connection, instrument, timeframe("1m"))
    time_us = to_us(START) + 60_000_000 * minute
    window = [(datetime.fromtimestamp(time_us / 1e6, UTC), datetime.fromtimestamp(time_us / 1e6 + 60, UTC))]
    at, volume = np.array([price]), np.array([1.5])
    batch = CandleBatch(np.array([time_us]), at, at, at, at, volume)
    write_candles(connection, series, batch, asked=window, covered=window)
    return find_instrument(connection, listing.exchange, listing.symbol).price_decimals


def _read(connection: Connection, listing: Listing) -> list[float]:
    rows = connection.execute("select close from candle where exchange = %s order by time", (listing.exchange,))
    return [close for (close,) in rows]
