"""Checksums of order books, for exchanges whose ccxt class does not look at them."""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

_LEVELS: Final = 10


def kraken_checksum(
    bids: Sequence[Sequence[float]], asks: Sequence[Sequence[float]], *, price_decimals: int, amount_decimals: int
) -> int:
    """The CRC32 of the ten best levels a side, asks first, each price and amount without point and leading zeros.

    Both sides are given best level first. The rule is Kraken's:
    https://docs.kraken.com/api/docs/guides/spot-ws-book-v2
    """
    levels = [*asks[:_LEVELS], *bids[:_LEVELS]]
    text = "".join(f"{_digits(level[0], price_decimals)}{_digits(level[1], amount_decimals)}" for level in levels)
    return zlib.crc32(text.encode())


def told_checksum(message: Mapping[str, Any]) -> int | None:
    """The checksum that came with Kraken's message of a book, None where there was none."""
    told = message["data"][0].get("checksum")
    return told if isinstance(told, int) else None


def _digits(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}".replace(".", "").lstrip("0")
