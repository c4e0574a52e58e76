"""How Binance writes candles, trades and levels of a book down, and which candles it has.

HTTP answers and streams are made of the same rows, so that they agree to the last digit.
"""

from typing import Final

from tapehouse.candle import Int64Array
from tapehouse.sandbox.bars import DAY_MS, HOUR_MS, MINUTE_MS, Bars, Grid
from tapehouse.sandbox.dialects.binance_products import Product
from tapehouse.sandbox.market import Market
from tapehouse.sandbox.tape import Trades

GRIDS: Final = {
    **{f"{minutes}m": Grid(minutes * MINUTE_MS) for minutes in (1, 3, 5, 15, 30)},
    **{f"{hours}h": Grid(hours * HOUR_MS) for hours in (1, 2, 4, 6, 8, 12)},
    "1d": Grid(DAY_MS),
    # Weeks open on Monday; 1970 began on a Thursday.
    "1w": Grid(7 * DAY_MS, origin_ms=4 * DAY_MS),
}
_TURNOVER_DECIMALS: Final = 8


def market_name(market: Market) -> str:
    """What Binance calls a market."""
    return market.base + market.quote


def encode_bars(product: Product, market: Market, grid: Grid, bars: Bars) -> list[str]:
    """Candles as JSON arrays."""
    history = market.history
    tick, lot = 10.0**history.price_decimals, 10.0**history.amount_decimals
    turnover = bars.turnover / (tick * lot)
    columns = (
        bars.open_ms,
        *(prices / tick for prices in (bars.open, bars.high, bars.low, bars.close)),
        bars.volume / lot,
        bars.open_ms + (grid.length_ms - 1),
        turnover,
        bars.trades,
        bars.taker_bought / lot,
        turnover * bars.taker_bought / bars.volume.clip(min=1),
    )
    price, amount = _formats(product, market)
    turned = f'"%.{_TURNOVER_DECIMALS}f"'
    template = f'[%d,{price},{price},{price},{price},{amount},%d,{turned},%d,{amount},{turned},"0"]'
    return [template % row for row in zip(*(column.tolist() for column in columns), strict=True)]


def encode_trades(product: Product, market: Market, trades: Trades) -> list[str]:
    """Trades as JSON objects, each an aggregate of its own."""
    price, amount = _formats(product, market)
    best = ',"M":true' if product.tells_best_match else ""
    return _written_trades(f'{{"a":%s,"p":{price},"q":{amount},"f":%s,"l":%s,"T":%d,"m":%s{best}}}', market, trades)


def encode_single_trades(product: Product, market: Market, trades: Trades) -> list[str]:
    """Trades as a stream of single ones tells them."""
    price, amount = _formats(product, market)
    best = ',"M":true' if product.tells_best_match else ',"X":"MARKET"'
    template = f'{{"t":%s,"p":{price},"q":{amount},"T":%d,"m":%s{best}}}'
    return _written_trades(template, market, trades, ids=1)


def encode_levels(product: Product, market: Market, prices: Int64Array, amounts: Int64Array) -> list[str]:
    """Levels of a book as JSON arrays."""
    history = market.history
    price, amount = _formats(product, market)
    template = f"[{price},{amount}]"
    columns = (prices / 10.0**history.price_decimals, amounts / 10.0**history.amount_decimals)
    return [template % row for row in zip(*(column.tolist() for column in columns), strict=True)]


def _written_trades(template: str, market: Market, trades: Trades, *, ids: int = 3) -> list[str]:
    """The template filled in for each trade; its id stands in it so many times, first and after the amount."""
    history = market.history
    trade_ids = trades.json_ids()
    columns = (
        trade_ids,
        (trades.price / 10.0**history.price_decimals).tolist(),
        (trades.amount / 10.0**history.amount_decimals).tolist(),
        *[trade_ids] * (ids - 1),
        trades.time_ms.tolist(),
        ["false" if bought else "true" for bought in trades.buyer_took.tolist()],
    )
    return [template % row for row in zip(*columns, strict=True)]


def _formats(product: Product, market: Market) -> tuple[str, str]:
    """The formats of prices and amounts: spot pads them with zeros to eight decimals."""
    history = market.history
    price, amount = (
        f'"%.{decimals}f{"0" * (product.least_decimals - decimals)}"'
        for decimals in (history.price_decimals, history.amount_decimals)
    )
    return price, amount
