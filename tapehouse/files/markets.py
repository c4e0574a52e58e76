"""Markets by the names that files have for them, as symbols of ccxt: BTC-USDT, BTC-USDT-PERP, BTCUSDT."""

import re
from collections.abc import Sequence
from typing import Final

from tapehouse.errors import InputError
from tapehouse.instrument import AmountUnit, Kind, Listing

_SYMBOL: Final = re.compile(r"([^/:\s]+)/([^/:\s]+?)(?::([^/:\s-]+)(-\d{6})?(?:-(\d+)-[CP])?)?")
_PERPETUAL: Final = re.compile(r"([A-Z0-9]+)-([A-Z0-9]+)-PERP")
# BTCUSD_PERP and BTCUSDT_250328 are contracts of Binance, with base and quote together.
_TAIL: Final = re.compile(r"[-_](PERP|\d{6})$")
_SPOT: Final = re.compile(r"([A-Z0-9]+)[-_](?!PERP$|\d{6}$)([A-Z0-9]+)")
# Where cryptofeed has exchanges of its own for contracts, ccxt has them in one.
_EXCHANGES: Final = {
    "binance_futures": "binance",
    "binance_delivery": "binancecoinm",
    "kraken_futures": "krakenfutures",
}
_NAME: Final = re.compile(r"[a-z][a-z0-9_.-]*")


def exchange_named(text: str) -> str:
    """The exchange by ccxt's id; raises InputError for what is no name of one."""
    name = text.strip().lower()
    if _NAME.fullmatch(name) is None:
        raise InputError(f"{text!r} is no name of an exchange: write it as ccxt does, as in binance.")
    return _EXCHANGES.get(name, name)


def symbol_named(text: str) -> str | None:
    """The symbol that a market's name with its parts apart stands for; None where they are not.

    A name all in small letters is taken as if it were in capitals.
    """
    text = text.upper() if text == text.lower() else text
    if _SYMBOL.fullmatch(text):
        return text
    if (match := _PERPETUAL.fullmatch(text)) is not None:
        base, quote = match.groups()
        # Contracts on dollars are settled in the coin, those on stablecoins in these.
        return f"{base}/{quote}:{base if quote == 'USD' else quote}"
    match = _SPOT.fullmatch(text)
    return f"{match[1]}/{match[2]}" if match else None


def find_symbols(market: str, symbols: Sequence[str], *, is_derivative: bool | None) -> list[str]:
    """Which of the symbols a name without punctuation may stand for; dated contracts only where it has the date."""
    tail = _TAIL.search(market)
    has_date = tail is not None and tail[1] != "PERP"
    return [
        symbol
        for symbol in symbols
        if may_be(market, symbol) and ("-" in symbol) == has_date and is_derivative in (None, ":" in symbol)
    ]


def may_be(market: str, symbol: str) -> bool:
    """Whether nothing in a market's name, which may tell less than the symbol, contradicts it."""
    exact = symbol_named(market)
    if exact is not None and ":" in exact:
        return exact == symbol
    name = market.upper()
    tail = _TAIL.search(name)
    if tail is None:
        return _bare(name) == _bare(symbol)
    is_of_tail = ":" in symbol and "-" not in symbol if tail[1] == "PERP" else symbol.endswith(f"-{tail[1]}")
    return is_of_tail and _bare(name[: tail.start()]) == _bare(symbol)


def _bare(market: str) -> str:
    """Base and quote of a symbol, or of another name of a market, with nothing between them."""
    return re.sub(r"[^A-Z0-9]", "", market.partition(":")[0].upper())


def listing_of_symbol(exchange: str, symbol: str, amount_unit: AmountUnit) -> Listing:
    """The market of which nothing but its symbol is known; raises InputError for what is no symbol.

    Its decimals follow the data.
    """
    match = _SYMBOL.fullmatch(symbol)
    if match is None:
        raise InputError(f"{symbol!r} is no symbol: write it as ccxt does, BTC/USDT, or BTC/USDT:USDT for a perpetual.")
    base, quote, settle, expiry, strike = match.groups()
    kind: Kind = "option" if strike else "future" if expiry else "swap" if settle else "spot"
    return Listing(
        exchange=exchange,
        symbol=symbol,
        base=base,
        quote=quote,
        settle=settle,
        kind=kind,
        contract_size=None,
        amount_unit=amount_unit,
        trade_unit=amount_unit,
        tick_size=None,
        lot_size=None,
        price_decimals=0,
        amount_decimals=0,
        active=True,
        from_sandbox=False,
        raw={},
    )
