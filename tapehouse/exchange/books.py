"""Order books: the depth to ask for, and samples from what ccxt makes of an answer.

What a sample must be like to be believed is in `tapehouse.validate`.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import cast

from tapehouse.book import BookSample
from tapehouse.errors import BadPage, InputError
from tapehouse.exchange.habits import Habits


def depth_to_ask(depth: int, habits: Habits, exchange_id: str) -> int:
    """The smallest depth that the exchange takes and that is not less; raises InputError where there is none."""
    if depth < 1:
        raise InputError(f"An order book of {depth} levels makes no sense: ask for 1 or more.")
    depths = habits.book_depths
    if depths is None:
        return depth
    place = bisect_left(depths, depth)
    if place == len(depths):
        raise InputError(f"{exchange_id} gives no {depth} levels of an order book: ask for {depths[-1]} or fewer.")
    return depths[place]


def sample_of(book: Mapping[str, object], *, received_at: datetime, exchange_at: datetime, whose: str) -> BookSample:
    """The sample of a book as `parsing` gives it; raises BadPage, naming `whose`, where it has neither side.

    ccxt's classes for some exchanges make books without `parsing`: then what they made is all there is to keep.
    """
    bids, asks = book["bids"], book["asks"]
    if bids is None and asks is None:
        raise BadPage(f"{whose} came without bids and asks: try again later.")
    return BookSample(
        bids=_levels(bids),
        asks=_levels(asks),
        exchange_ms=_whole_number(book["timestamp"]),
        nonce=_whole_number(book["nonce"]),
        received_at=received_at,
        exchange_at=exchange_at,
        raw=book.get("info", book),
    )


def _levels(side: object) -> Sequence[object]:
    return cast("list[object]", side) if isinstance(side, list) else ()


def _whole_number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
