"""Layouts: what the columns of a table are, by their names or, where a file names none, by their number and kind.

The names are those that exchanges, freqtrade, cryptofeed and ourselves use. Files without names are Binance's public
data (https://github.com/binance/binance-public-data) and plain candles, in the order in which ccxt has them.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from tapehouse.errors import InputError
from tapehouse.files.tables import Table
from tapehouse.store.instruments import Dataset

Role = Literal[
    "time", "open", "high", "low", "close", "volume", "is_closed",
    "id", "price", "amount", "side", "is_buyer_maker",
    "exchange", "symbol", "timeframe", "source",
]  # fmt: skip
Columns = Mapping[Role, str]

_CANDLE_ROLES: Final[tuple[Role, ...]] = ("time", "open", "high", "low", "close", "volume")
_TRADE_ROLES: Final[tuple[Role, ...]] = ("time", "id", "price", "amount")
# Names without case and punctuation; of several that a file has the first here counts.
_TRADE_TIMES: Final = ("time", "timestamp", "ts", "transacttime", "tradetime", "date", "datetime", "t")
_CANDLE_NAMES: Final[Mapping[Role, Sequence[str]]] = {
    "time": (
        "opentime", "opentimeinmillis", "opentimeiniso", "start", "time", "timestamp", "ts", "unix", "date", "datetime",
        "t",
    ),
    "open": ("open", "o"),
    "high": ("high", "h"),
    "low": ("low", "l"),
    "close": ("close", "c"),
    "volume": ("volume", "vol", "v"),
    "is_closed": ("closed", "isclosed", "x"),
}  # fmt: skip
_TRADE_NAMES: Final[Mapping[Role, Sequence[str]]] = {
    "time": _TRADE_TIMES,
    "id": ("id", "tradeid", "aggtradeid", "aggregatetradeid"),
    "price": ("price", "p"),
    "amount": ("amount", "qty", "quantity", "size", "q"),
    "side": ("side", "takerside"),
    "is_buyer_maker": ("isbuyermaker", "wasthebuyerthemaker", "m"),
}
_SERIES_NAMES: Final[Mapping[Role, Sequence[str]]] = {
    "exchange": ("exchange", "feed"),
    "symbol": ("symbol", "pair"),
    "timeframe": ("timeframe", "interval"),
    "source": ("source",),
}
# By the kinds of the cells of the first row: n a number, b a truth value, t a text.
_NAMELESS: Final[Sequence[tuple[re.Pattern[str], str, Dataset, Mapping[Role, int]]]] = (
    (
        re.compile("n{12}"),
        "Binance klines",
        "ohlcv",
        {"time": 0, "open": 1, "high": 2, "low": 3, "close": 4, "volume": 5},
    ),
    (
        re.compile("[nt]n{5}"),
        "candles",
        "ohlcv",
        {"time": 0, "open": 1, "high": 2, "low": 3, "close": 4, "volume": 5},
    ),
    (
        re.compile("n{5}b{1,2}"),
        "Binance trades",
        "trade",
        {"id": 0, "price": 1, "amount": 2, "time": 4, "is_buyer_maker": 5},
    ),
    (
        re.compile("n{6}b{1,2}"),
        "Binance aggregated trades",
        "trade",
        {"id": 0, "price": 1, "amount": 2, "time": 5, "is_buyer_maker": 6},
    ),
)  # fmt: skip
_NAMES_SHOWN: Final = 20
_CHARACTERS_SHOWN: Final = 400
_NUMBER: Final = re.compile(r"\s*([-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|nan|)\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Layout:
    """What the columns of a table are: the name of each by its role.

    `is_binance` says that they are those of Binance's public data.
    """

    name: str
    dataset: Dataset
    columns: Columns
    is_binance: bool


def layout_of(table: Table, dataset: Dataset | None) -> Layout:
    """The table's layout, of that dataset if one is given; raises InputError where columns are missing."""
    if not table.is_named:
        return _nameless(table, dataset)
    by_name = {_plain(name): name for name in reversed(table.names)}
    series = _named(by_name, _SERIES_NAMES)
    candles, trades = _named(by_name, _CANDLE_NAMES), _named(by_name, _TRADE_NAMES)
    if dataset != "trade" and candles.keys() >= set(_CANDLE_ROLES):
        is_binance = {"closetime", "quotevolume", "takerbuyvolume"} <= by_name.keys()
        return Layout("Binance klines" if is_binance else "candles", "ohlcv", {**series, **candles}, is_binance)
    if dataset != "ohlcv" and trades.keys() >= set(_TRADE_ROLES):
        is_binance = "isbuyermaker" in by_name and ("quoteqty" in by_name or "firsttradeid" in by_name)
        name = "trades" if not is_binance else "Binance trades"
        name = "Binance aggregated trades" if is_binance and "firsttradeid" in by_name else name
        return Layout(name, "trade", {**series, **trades}, is_binance)
    raise InputError(f"{table.path.name} {_lacking(candles, trades, dataset)}: its columns are {_some(table.names)}.")


def _nameless(table: Table, dataset: Dataset | None) -> Layout:
    kinds = "".join(map(_kind, table.first_row))
    for pattern, name, of, places in _NAMELESS:
        if pattern.fullmatch(kinds) and dataset in (None, of):
            columns: dict[Role, str] = {role: table.names[place] for role, place in places.items()}
            return Layout(name, of, columns, name.startswith("Binance"))
    raise InputError(
        f"{table.path.name} does not name its columns, and its {len(kinds)} of them are none that are known: give it "
        "a first line such as time,open,high,low,close,volume."
    )


def _kind(cell: str) -> str:
    if cell.strip().lower() in ("true", "false"):
        return "b"
    return "n" if _NUMBER.fullmatch(cell) else "t"


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _named(by_name: Mapping[str, str], names: Mapping[Role, Sequence[str]]) -> dict[Role, str]:
    """The file's name for each role that it has a column for."""
    found: dict[Role, str] = {}
    for role, known in names.items():
        first = next((by_name[name] for name in known if name in by_name), None)
        if first is not None:
            found[role] = first
    return found


def _lacking(candles: Columns, trades: Columns, dataset: Dataset | None) -> str:
    """What keeps the table from being of that dataset, or of any."""
    of_candles = _list([role for role in _CANDLE_ROLES if role not in candles])
    of_trades = _list([role for role in _TRADE_ROLES if role not in trades])
    if dataset is None:
        return f"is neither candles, for which it lacks {of_candles}, nor trades, for which it lacks {of_trades}"
    return f"lacks {of_candles} of candles" if dataset == "ohlcv" else f"lacks {of_trades} of trades"


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return f"{_list(names[:_NAMES_SHOWN])[:_CHARACTERS_SHOWN]}{f' and {more} more' if more > 0 else ''}"
