"""How answers are read by ccxt's class for an exchange: everything as it came; importing this imports ccxt.

ccxt itself sorts rows and levels, filters them, cuts them to size, and gives up a page for one
row. What single rows hold is ccxt's own reading; what may be believed is `tapehouse.validate`'s.
"""

from collections.abc import Callable, Mapping
from functools import partial
from itertools import chain
from typing import Any, ClassVar, Final, cast

import ccxt.async_support as ccxt_async

from tapehouse.exchange.rows import trade_row

# What ccxt raises when a row is no candle, a trade no trade, a level no level.
_UNREADABLE: Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
# Open, high, low, close, volume.
_CANDLE_VALUES: Final = 5
_OTHER_SIDE: Final[Mapping[object, str]] = {"buy": "sell", "sell": "buy"}


class PlainParsing:
    """Put before a class of ccxt's: candles, trades and books in the order received, none left out.

    `turns_sides` is true where ccxt passes on the maker's side of trades instead of the taker's, and
    `side_cell` says where a trade as received tells its side, where ccxt makes one up for those that don't;
    `candles_in_order` that candles as received begin with the cells that are wanted.
    """

    candles_in_order: ClassVar[bool] = False
    turns_sides: ClassVar[bool] = False
    side_cell: ClassVar[int | str | None] = None

    def parse_ohlcvs(self, ohlcvs: object, market: object = None, *context: Any, **options: Any) -> object:  # noqa: ANN401 -- passed on
        """Candles as rows of ms, open, high, low, close and volume, each a list or a tuple."""
        if not isinstance(ohlcvs, list):
            return _ccxt(super()).parse_ohlcvs(ohlcvs, market, *context, **options)
        rows = cast("list[object]", ohlcvs)
        if self.candles_in_order and (plain := _plain_candles(rows)) is not None:
            return plain
        parse = _ccxt(self).parse_ohlcv
        return _parsed(lambda row: parse(row, market), rows)

    def parse_trades(self, trades: object, market: object = None, *context: Any, **options: Any) -> object:  # noqa: ANN401 -- passed on
        """Trades as rows `(ms, id, side, price, amount, the row as received)`; dictionaries where ccxt does more."""
        parse_as_ccxt = _ccxt(super()).parse_trades
        # One class leaves out trades that its exchange lists twice.
        if not isinstance(trades, list) or parse_as_ccxt.__func__ is not ccxt_async.Exchange.parse_trades:
            return parse_as_ccxt(trades, market, *context, **options)
        parse, to_row, side_cell = _ccxt(self).parse_trade, trade_row, self.side_cell
        if self.turns_sides:
            to_row = _maker_row
        elif side_cell is not None:
            to_row = partial(_told_row, side_cell)
        return _parsed(lambda row: to_row(parse(row, market)), cast("list[object]", trades))

    def safe_trade(self, trade: dict[str, Any], market: object = None) -> dict[str, Any]:  # noqa: ARG002 -- ccxt's signature
        """The trade with its numbers; ccxt would also reckon cost and fees, which takes half the time of a row."""
        for name in ("price", "amount"):
            trade[name] = _ccxt(self).safe_number(trade, name)
        return trade

    def parse_order_book(
        self,
        orderbook: object,
        symbol: object,
        timestamp: object = None,
        bids_key: str = "bids",
        asks_key: str = "asks",
        *keys: Any,  # noqa: ANN401 -- passed on
    ) -> dict[str, Any]:
        """The book with its levels `[price, amount, ...]`, a side that is missing as None, and the answer as `info`."""
        if isinstance(orderbook, list):
            parsed = _ccxt(super()).parse_order_book(orderbook, symbol, timestamp, bids_key, asks_key, *keys)
            return {**parsed, "info": cast("object", orderbook)}
        book = cast("Mapping[str, object]", orderbook if isinstance(orderbook, Mapping) else {})
        parse = _ccxt(self).parse_order_book_bid_ask
        bids, asks = (_parsed_side(lambda level: parse(level, *keys), book.get(key)) for key in (bids_key, asks_key))
        return {"bids": bids, "asks": asks, "timestamp": timestamp, "nonce": None, "info": orderbook}


def _plain_candles(rows: list[object]) -> list[object] | None:
    """The rows as ccxt would read them, in a third of the time, if all are whole milliseconds and text."""
    if set(map(type, rows)) != {list} or not all(rows):
        return None
    times_ms, *values = zip(*cast("list[list[object]]", rows), strict=False)
    values = values[:_CANDLE_VALUES]
    if len(values) < _CANDLE_VALUES or set(map(type, times_ms)) != {int} or set(map(type, chain(*values))) != {str}:
        return None
    try:
        numbers = [list(map(float, cast("tuple[str, ...]", column))) for column in values]
    except ValueError:
        return None
    # Tuples, since the garbage collector leaves those of numbers alone.
    return list(zip(times_ms, *numbers, strict=True))


def _maker_row(trade: Mapping[str, object]) -> tuple[object, ...]:
    time_ms, trade_id, side, *rest = trade_row(trade)
    return time_ms, trade_id, _OTHER_SIDE.get(side, side), *rest


def _told_row(side_cell: int | str, trade: Mapping[str, object]) -> tuple[object, ...]:
    """The row without a side, unless the trade as received has one."""
    time_ms, trade_id, side, *rest, received = trade_row(trade)
    return time_ms, trade_id, side if _cell(received, side_cell) else None, *rest, received


def _cell(row: object, key: int | str) -> object:
    try:
        return cast("Any", row)[key]
    except (LookupError, TypeError):
        return None


def _parsed(parse: Callable[[object], object], rows: list[object]) -> list[object]:
    """The rows as ccxt reads them, or as they came where ccxt can't."""
    try:
        return [parse(row) for row in rows]
    except _UNREADABLE:
        return [_parsed_or_raw(parse, row) for row in rows]


def _parsed_side(parse: Callable[[object], object], levels: object) -> list[object] | None:
    if isinstance(levels, Mapping):
        levels = list(cast("Mapping[str, object]", levels).values())
    return _parsed(parse, cast("list[object]", levels)) if isinstance(levels, list) else None


def _parsed_or_raw(parse: Callable[[object], object], row: object) -> object:
    try:
        return parse(row)
    except _UNREADABLE:
        return row


def _ccxt(exchange: object) -> Any:  # noqa: ANN401 -- ccxt has no types
    return exchange
