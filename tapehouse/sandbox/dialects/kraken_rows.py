"""How Kraken writes candles, trades and levels of a book down, and how long its candles are.

HTTP answers and streams are made of the same numbers, so that they agree to the last digit.
"""

from typing import Final

from tapehouse.candle import Int64Array
from tapehouse.sandbox.bars import Bars, Grid
from tapehouse.sandbox.market import Market
from tapehouse.sandbox.tape import Trades

# In minutes.
INTERVALS: Final = (1, 5, 15, 30, 60, 240, 1440, 10_080, 21_600)
_VOLUME_DECIMALS: Final = 8
# Times of trades are rounded to 100 ns; cursors hold all of them.
_WRITTEN_NS: Final = 100
_NS_PER_S: Final = 1_000_000_000


def encode_bars(market: Market, grid: Grid, bars: Bars) -> list[str]:  # noqa: ARG001 -- no row names its length
    """Candles as JSON arrays."""
    history = market.history
    tick, lot = 10.0**history.price_decimals, 10.0**history.amount_decimals
    columns = (
        bars.open_ms // 1000,
        *(prices / tick for prices in (bars.open, bars.high, bars.low, bars.close)),
        bars.turnover / bars.volume.clip(min=1) / tick,
        bars.volume / lot,
        bars.trades,
    )
    price, volume = _price(market), _volume(market)
    template = f"[%d,{price},{price},{price},{price},{price},{volume},%d]"
    return [template % row for row in zip(*(column.tolist() for column in columns), strict=True)]


def encode_trades(market: Market, trades: Trades) -> list[str]:
    """Trades as JSON arrays."""
    history = market.history
    columns = (
        (trades.price / 10.0**history.price_decimals).tolist(),
        (trades.amount / 10.0**history.amount_decimals).tolist(),
        [_seconds(time_ns) for time_ns in trades.time_ns.tolist()],
        ["b" if bought else "s" for bought in trades.buyer_took.tolist()],
        trades.json_ids(),
    )
    template = f'[{_price(market)},{_volume(market)},%s,"%s","m","",%s]'
    return [template % row for row in zip(*columns, strict=True)]


def encode_levels(market: Market, prices: Int64Array, amounts: Int64Array, time_s: int) -> list[str]:
    """Levels of a book as JSON arrays."""
    history = market.history
    template = f"[{_price(market)},{_volume(market)},{time_s}]"
    columns = (prices / 10.0**history.price_decimals, amounts / 10.0**history.amount_decimals)
    return [template % row for row in zip(*(column.tolist() for column in columns), strict=True)]


def plain_prices(market: Market, prices: Int64Array) -> list[str]:
    """Prices as JSON numbers, with at least the decimals that the market announces."""
    return _plain(prices, market.history.price_decimals, market.price_decimals)


def plain_amounts(market: Market, amounts: Int64Array) -> list[str]:
    """Amounts as JSON numbers, with at least the decimals that the market announces."""
    return _plain(amounts, market.history.amount_decimals, market.amount_decimals)


def written_time_ns(time_ns: int) -> int:
    """The time of a trade as exactly as Kraken tells it."""
    return (time_ns + _WRITTEN_NS // 2) // _WRITTEN_NS * _WRITTEN_NS


def _plain(values: Int64Array, decimals: int, announced: int) -> list[str]:
    template = f"%.{max(decimals, announced)}f"
    return [template % value for value in (values / 10.0**decimals).tolist()]


def _price(market: Market) -> str:
    return f'"%.{market.history.price_decimals}f"'


def _volume(market: Market) -> str:
    decimals = market.history.amount_decimals
    return f'"%.{decimals}f{"0" * (_VOLUME_DECIMALS - decimals)}"'


def _seconds(time_ns: int) -> str:
    """A time in seconds with the decimals that Kraken writes, without zeros at the end."""
    seconds, below = divmod(written_time_ns(time_ns), _NS_PER_S)
    return f"{seconds}.{below:09d}".rstrip("0").rstrip(".")
