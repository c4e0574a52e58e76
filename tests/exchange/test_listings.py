"""Precisions and units of listings, from the shapes that ccxt gives them."""

from typing import Any

import pytest

from tapehouse.exchange.habits import Habits, habits_of
from tapehouse.exchange.listings import listing_of

DECIMAL_PLACES, SIGNIFICANT_DIGITS, TICK_SIZE = 2, 3, 4


def market(**changes: Any) -> dict[str, Any]:
    spot: dict[str, Any] = {
        "symbol": "BTC/USDT",
        "base": "BTC",
        "quote": "USDT",
        "settle": None,
        "type": "spot",
        "contractSize": None,
        "linear": None,
        "inverse": None,
        "precision": {"price": 0.01, "amount": 1e-05},
        "active": True,
        "info": {"status": "TRADING"},
    }
    return spot | changes


@pytest.mark.parametrize(
    ("mode", "precision", "tick_size", "decimals"),
    [
        (TICK_SIZE, 0.5, 0.5, 1),
        (TICK_SIZE, 0.25, 0.25, 2),
        (TICK_SIZE, 1e-8, 1e-8, 8),
        (TICK_SIZE, 1.5e-10, 1.5e-10, 11),
        (TICK_SIZE, 1e-18, 1e-18, 12),
        (TICK_SIZE, 1, 1.0, 0),
        (TICK_SIZE, 10.0, 10.0, 0),
        (TICK_SIZE, 100, 100.0, 0),
        (TICK_SIZE, "0.0010", 0.001, 3),
        (TICK_SIZE, None, None, 8),
        (TICK_SIZE, 0, None, 8),
        (DECIMAL_PLACES, 2, 0.01, 2),
        (DECIMAL_PLACES, 0, 1.0, 0),
        (DECIMAL_PLACES, -1, 10.0, 0),
        (SIGNIFICANT_DIGITS, 5, None, 8),
    ],
)
def test_tick_size_and_decimals_are_exact(mode: int, precision: object, tick_size: float | None, decimals: int):
    listing = listing_of(
        "x", market(precision={"price": precision, "amount": precision}), mode, Habits(), from_sandbox=False
    )
    assert listing is not None
    assert listing.tick_size == tick_size
    assert listing.price_decimals == decimals
    # A scale of more decimals would leave no room for ordinary amounts.
    assert listing.amount_decimals == min(decimals, 8)


@pytest.mark.parametrize(
    ("exchange_id", "contract", "unit"),
    [
        ("binance", {}, "base"),
        ("binanceusdm", {"type": "swap", "linear": True, "contractSize": 1.0}, "base"),
        ("okx", {"type": "swap", "linear": True, "contractSize": 0.01}, "base"),
        ("gate", {"type": "swap", "linear": True, "contractSize": 0.0001}, "contract"),
        ("gate", {"type": "spot"}, "base"),
        ("krakenfutures", {"type": "swap", "inverse": True, "contractSize": 1.0}, "contract"),
        ("krakenfutures", {"type": "swap", "linear": True, "contractSize": 1.0}, "base"),
    ],
)
def test_amounts_are_in_contracts_where_the_exchange_counts_them(exchange_id: str, contract: dict[str, Any], unit: str):
    listing = listing_of(exchange_id, market(**contract), TICK_SIZE, habits_of(exchange_id), from_sandbox=False)
    assert listing is not None
    assert listing.amount_unit == unit
    assert listing.contract_size == contract.get("contractSize")


@pytest.mark.parametrize(
    ("contract", "unit"),
    [
        ({}, "base"),
        ({"type": "swap", "linear": True, "contractSize": 1.0}, "base"),
        ({"type": "swap", "linear": True, "contractSize": 1}, "base"),
        ({"type": "swap", "linear": True, "contractSize": 0.01}, "contract"),
        ({"type": "future", "inverse": True, "contractSize": 1.0}, "contract"),
        ({"type": "swap", "inverse": True, "contractSize": 100.0}, "contract"),
        ({"type": "swap", "linear": True, "contractSize": None}, "contract"),
    ],
)
def test_trades_and_books_count_contracts_unless_one_is_worth_one_base(contract: dict[str, Any], unit: str):
    listing = listing_of("x", market(**contract), TICK_SIZE, Habits(), from_sandbox=False)
    assert listing is not None
    assert listing.trade_unit == unit


@pytest.mark.parametrize(("said", "active"), [(True, True), (False, False), (None, True)])
def test_only_a_market_that_is_marked_so_is_inactive(said: bool | None, active: bool):
    listing = listing_of("x", market(active=said), TICK_SIZE, Habits(), from_sandbox=False)
    assert listing is not None
    assert listing.active is active


def test_other_kinds_of_market_are_left_out():
    assert listing_of("x", market(type="index"), TICK_SIZE, Habits(), from_sandbox=False) is None
