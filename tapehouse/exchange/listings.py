"""Reading ccxt's market dictionaries into listings: kinds, units and exact decimal places.

How ccxt is made to load them is `connection`'s business.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, cast, get_args

from tapehouse.exchange.habits import Habits
from tapehouse.instrument import AmountUnit, Kind, Listing

# ccxt's precisionMode; the numbers are part of its interface (ccxt.base.decimal_to_precision).
_DECIMAL_PLACES: Final = 2
_TICK_SIZE: Final = 4
# What most exchanges give; too many are harmless, and too few are widened by the first write.
_USUAL_DECIMALS: Final = 8
# Some announce 18 decimals and trade with six; a scale that wide would hold no value above 0.009.
_MOST_PRICE_DECIMALS: Final = 12
_MOST_AMOUNT_DECIMALS: Final = 8
_KINDS: Final = frozenset(get_args(Kind))


def listing_of(
    exchange_id: str, market: Mapping[str, Any], precision_mode: int, habits: Habits, *, from_sandbox: bool
) -> Listing | None:
    """The listing of a ccxt market, None for kinds that are not kept (indices, stocks)."""
    if market["type"] not in _KINDS:
        return None
    tick_size = _step(market["precision"].get("price"), precision_mode)
    lot_size = _step(market["precision"].get("amount"), precision_mode)
    return Listing(
        exchange=exchange_id,
        symbol=market["symbol"],
        base=str(market["base"]),
        quote=str(market["quote"]),
        settle=market.get("settle"),
        kind=market["type"],
        contract_size=_contract_size(market, habits),
        amount_unit=_amount_unit(market, habits),
        trade_unit=_trade_unit(market, habits),
        tick_size=_float_or_none(tick_size),
        lot_size=_float_or_none(lot_size),
        price_decimals=min(_decimals(tick_size), _MOST_PRICE_DECIMALS),
        amount_decimals=min(_decimals(lot_size), _MOST_AMOUNT_DECIMALS),
        # Some exchanges say nothing of markets that trade; delisted ones are always marked.
        active=market.get("active") is not False,
        from_sandbox=from_sandbox,
        raw=_raw(market.get("info")),
    )


def _step(precision: object, precision_mode: int) -> Decimal | None:
    """The smallest step as an exact decimal; None where the exchange has none, or only significant digits."""
    if precision is None:
        return None
    number = Decimal(str(precision))
    if precision_mode == _DECIMAL_PLACES:
        return Decimal(1).scaleb(-int(number))
    if precision_mode == _TICK_SIZE and number.is_finite() and number > 0:
        return number
    return None


def _decimals(step: Decimal | None) -> int:
    if step is None:
        return _USUAL_DECIMALS
    exponent = step.normalize().as_tuple().exponent
    return max(0, -int(exponent))


def _amount_unit(market: Mapping[str, Any], habits: Habits) -> AmountUnit:
    for contract_type in habits.volume_in_contracts:
        if market.get(contract_type):
            return "contract"
    return "base"


def _contract_size(market: Mapping[str, Any], habits: Habits) -> float | None:
    """What one of those is worth that trades count: a quote unit where they count these, as on deribit."""
    if habits.counts_units and market.get("inverse") and market["type"] != "option":
        return 1.0
    return _float_or_none(market.get("contractSize"))


def _trade_unit(market: Mapping[str, Any], habits: Habits) -> AmountUnit:
    """What amounts of trades and order books count, which ccxt passes on as the exchange has them.

    Contracts, as ccxt's manual says ("contractSize") and as its `safe_trade` reckons with, unless the habits
    say otherwise. That was checked on okx (sz), gate (size), kucoin (size), mexc (v), binancecoinm (q), and on
    bybit's and krakenfutures' inverse markets, where a contract is worth 1 USD, and is taken to be so elsewhere.
    Where a contract is worth 1 base unit, they are the same.
    """
    if habits.counts_units and (not market.get("inverse") or market["type"] == "option"):
        return "base"
    is_worth_one_base = bool(market.get("linear")) and market.get("contractSize") == 1
    return "base" if market["type"] == "spot" or is_worth_one_base else "contract"


def _float_or_none(number: str | float | Decimal | None) -> float | None:
    return None if number is None else float(number)


def _raw(info: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", info) if isinstance(info, Mapping) else {"info": info}
