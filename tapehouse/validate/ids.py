"""The ids of trades, kept exactly: whole numbers as such, all else as text.

Which ids are good enough is said in `schema`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tapehouse.candle import Int64Array
from tapehouse.trade import StrArray

_TOO_LARGE: Final = 2**63
# The longest that an index of the database is asked to hold; a UUID has 36, a transaction's hash 66.
_MOST_CHARACTERS: Final = 128


@dataclass(frozen=True, slots=True, eq=False)
class Ids:
    """One id a trade, as `TradeBatch` holds it; 0 and "" where it is missing or not storable."""

    number: Int64Array
    text: StrArray
    is_missing: npt.NDArray[np.bool_]
    is_storable: npt.NDArray[np.bool_]


def ids_of(cells: Sequence[object]) -> Ids:
    """The ids that those cells hold, text or int; an id of any other kind is missing, as is an empty one.

    An id is a whole number only if that is all it is: "007" is text. Not storable are ids with NUL
    or lone surrogates, which PostgreSQL's text can't hold, those of more than 128 characters, and those
    that end with a blank, with which answers fill ids up to one length.
    """
    texts = [cell if type(cell) is str else _text(cell) for cell in cells]
    numbers = _all_whole_numbers(texts)
    if numbers is not None:
        count = len(texts)
        return Ids(numbers, np.full(count, ""), np.zeros(count, np.bool_), np.ones(count, np.bool_))
    is_storable = [_is_storable(text) for text in texts]
    kept = [text if fits else "" for text, fits in zip(texts, is_storable, strict=True)]
    whole = [_is_whole_number(text) for text in kept]
    return Ids(
        np.array([int(text) if is_whole else 0 for text, is_whole in zip(kept, whole, strict=True)], dtype=np.int64),
        np.array(["" if is_whole else text for text, is_whole in zip(kept, whole, strict=True)], dtype=np.str_),
        np.array([not text for text in texts], dtype=np.bool_),
        np.array(is_storable, dtype=np.bool_),
    )


def _text(cell: object) -> str:
    if isinstance(cell, str):
        return str(cell)
    if isinstance(cell, bool) or not isinstance(cell, int):
        return ""
    try:
        return str(cell)
    except ValueError:
        return hex(cell)  # Python writes no int of more than 4,300 digits; far too long for an id either way


def _all_whole_numbers(texts: list[str]) -> Int64Array | None:
    """The ids as numbers if that is what all of them are, which is so on most exchanges."""
    try:
        numbers = list(map(int, texts))
    except ValueError:
        return None
    if numbers and not 0 <= min(numbers) <= max(numbers) < _TOO_LARGE:
        return None
    return np.array(numbers, dtype=np.int64) if list(map(str, numbers)) == texts else None


def _is_whole_number(text: str) -> bool:
    # isdecimal() also takes the digits of other scripts.
    if not (text.isascii() and text.isdecimal()):
        return False
    return (text == "0" or text[0] != "0") and int(text) < _TOO_LARGE


def _is_storable(text: str) -> bool:
    if len(text) > _MOST_CHARACTERS or "\x00" in text or text.endswith(" "):
        return False
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)
