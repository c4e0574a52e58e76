"""What the name of a file, and the folders it is in, tell of its rows.

The names are those of Binance's public data, of freqtrade and of Lean; another name tells nothing. What the rows
themselves say comes first, see `understanding`.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

from tapehouse.errors import InputError
from tapehouse.ranges import TimeRange
from tapehouse.store.instruments import Dataset
from tapehouse.timeframe import Timeframe
from tapehouse.timeframe import timeframe as timeframe_named

# BTCUSDT-1m-2025-01-03.zip: https://github.com/binance/binance-public-data
_BINANCE: Final = re.compile(r"([A-Z0-9_]+)-(trades|aggTrades|\d+(?:s|m|h|d|w|mo))-(\d{4}-\d\d(?:-\d\d)?)\.[a-z.]+")
# BTC_USDT_USDT-1m-futures.feather: https://www.freqtrade.io/en/stable/data-download
_FREQTRADE: Final = re.compile(
    r"([A-Za-z0-9]+)_([A-Za-z0-9]+)(?:_([A-Za-z0-9]+))?-(\d+[A-Za-z]{1,2}|trades)(-[A-Za-z_]+)?\.[a-z.]+"
)
_FREQTRADE_FOLDER: Final = "futures"
# 20180404_btcusd_minute_trade.csv: https://github.com/QuantConnect/Lean
_DAY: Final = re.compile(r"(?<!\d)(20\d\d)(\d\d)(\d\d)(?!\d)")
_LEAN_LENGTHS: Final = {"second": "1s", "minute": "1m"}
_LENGTH: Final = re.compile(r"(?<![A-Za-z0-9])(\d+(?:s|m|h|d|w|mo|Mo)|second|minute)(?![A-Za-z0-9])")


@dataclass(frozen=True, slots=True)
class Told:
    """What a name tells, None where it tells nothing.

    `market` is the market without its punctuation, as in BTCUSDT, which is all that some names have; `is_derivative`
    says whether it is a contract. `window` is the time of which the file has all, `day` the one that its times count
    from, if they count from midnight.
    """

    exchange: str | None = None
    symbol: str | None = None
    market: str | None = None
    is_derivative: bool | None = None
    dataset: Dataset | None = None
    timeframe: Timeframe | None = None
    window: TimeRange | None = None
    day: date | None = None


def read_name(path: Path) -> Told:
    """What the file's name and folders tell; raises InputError for those of freqtrade's files that hold no market."""
    if (match := _BINANCE.fullmatch(path.name)) is not None:
        return _binance(path, match[1], match[2], match[3])
    if (match := _FREQTRADE.fullmatch(path.name)) is not None:
        return _freqtrade(path, match[1], match[2], match[3], match[4], match[5])
    return Told(timeframe=_length(path.name), day=_day(path.name))


def _binance(path: Path, market: str, what: str, period: str) -> Told:
    is_candles = what not in ("trades", "aggTrades")
    folders = path.parts[:-1]
    is_derivative = True if "futures" in folders else False if "spot" in folders else None
    return Told(
        exchange="binance",
        market=market,
        is_derivative=is_derivative,
        dataset="ohlcv" if is_candles else "trade",
        timeframe=_timeframe(what) if is_candles else None,
        window=_period(path, period),
    )


def _freqtrade(path: Path, base: str, quote: str, settle: str | None, what: str, kind: str | None) -> Told:
    if kind not in (None, "-futures", "-spot"):
        raise InputError(f"{path.name} holds {(kind or '')[1:]} data, no candles of a market: it can't be imported.")
    folder = path.absolute().parent
    folder = folder.parent if folder.name == _FREQTRADE_FOLDER else folder
    return Told(
        # freqtrade's folder is user_data/data/<exchange>.
        exchange=folder.name if folder.parent.name == "data" else None,
        symbol=f"{base}/{quote}:{settle}" if settle else f"{base}/{quote}",
        dataset="trade" if what == "trades" else "ohlcv",
        timeframe=None if what == "trades" else _timeframe(what),
    )


def _period(path: Path, text: str) -> TimeRange:
    """The UTC day or month of that name."""
    length = timeframe_named("1d" if text.count("-") == 2 else "1M")
    try:
        start = datetime.fromisoformat(text if text.count("-") == 2 else f"{text}-01").replace(tzinfo=UTC)
    except ValueError:
        raise InputError(f"{path.name} names no day or month that there is: rename it.") from None
    return start, length.close(start)


def _length(name: str) -> Timeframe | None:
    found = _LENGTH.findall(name)
    return _timeframe(_LEAN_LENGTHS.get(str(found[0]), str(found[0]))) if len(found) == 1 else None


def _day(name: str) -> date | None:
    found = _DAY.findall(name)
    try:
        return date(*map(int, found[0])) if len(found) == 1 else None
    except ValueError:
        return None


def _timeframe(text: str) -> Timeframe:
    # A month is "1mo" where case may not matter.
    return timeframe_named(re.sub("mo$", "M", text, flags=re.IGNORECASE))
