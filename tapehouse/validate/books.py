"""Splitting samples of an order book into good snapshots and rejects.

The rules are in `schema`, the conversion of levels in `sides`; writing the outcome is the store's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from tapehouse.book import NO_NONCE, BookBatch, BookSample
from tapehouse.candle import Float64Array, Int64Array, Reject
from tapehouse.timeframe import to_us
from tapehouse.validate.conversion import believable_us, floats_of
from tapehouse.validate.rejection import reasons_by_line, reject_of
from tapehouse.validate.schema import book_schema
from tapehouse.validate.selection import LineNumbers, lines_without
from tapehouse.validate.sides import Side, side_of

_LARGEST_NONCE: Final = 2**63 - 1


@dataclass(frozen=True, slots=True, eq=False)
class BookSplit:
    """The outcome of validating samples of one instrument's order book.

    `passed` says of each sample whether it is good, and `time_us` its time in microseconds since 1970 UTC if it
    is; of good ones with the same time `good` has one.
    """

    good: BookBatch
    rejected: tuple[Reject, ...]
    passed: npt.NDArray[np.bool_]
    time_us: Int64Array


def split_books(samples: Sequence[BookSample], *, depth: int) -> BookSplit:
    """Split samples, in the order received; only the first `depth` levels of a side are looked at and kept.

    A snapshot's time is the exchange's where it told one, else the exchange's clock when the sample came. The
    last good one of a time wins; of equal ones just after each other it is the first, as the book was known since then.
    Levels may be any JSON, of which the first two cells count.
    """
    times_ms = floats_of([_time_ms(sample) for sample in samples])
    times_us = believable_us(times_ms)
    clock_us = np.array([to_us(sample.exchange_at) for sample in samples], dtype=np.int64)
    bids = side_of([sample.bids for sample in samples], depth)
    asks = side_of([sample.asks for sample in samples], depth)
    reasons = reasons_by_line(book_schema(), _frame(times_ms, times_us, clock_us, bids, asks))
    passed = lines_without(reasons, len(samples))
    lines = _last_news(passed, times_us, bids, asks)
    chosen = [samples[int(line)] for line in lines]
    bids, asks = bids.take(lines), asks.take(lines)
    good = BookBatch(
        time_us=times_us[lines],
        received_us=np.array([to_us(sample.received_at) for sample in chosen], dtype=np.int64),
        nonce=np.array([_nonce(sample.nonce) for sample in chosen], dtype=np.int64),
        bid_count=bids.count,
        ask_count=asks.count,
        bid_price=bids.price,
        bid_amount=bids.amount,
        ask_price=asks.price,
        ask_amount=asks.amount,
    )
    rejected = [reject_of(samples[line].raw, int(times_us[line]), reasons[line]) for line in sorted(reasons)]
    return BookSplit(good, tuple(rejected), np.isin(np.arange(len(samples)), passed), times_us)


def _last_news(lines: LineNumbers, times_us: Int64Array, bids: Side, asks: Side) -> LineNumbers:
    """Of those lines the last of each time, sorted by it, that is not equal to the one of that time before."""
    news: dict[int, int] = {}
    for line in lines.tolist():
        known = news.get(int(times_us[line]))
        if known is None or not (bids.is_equal(known, line) and asks.is_equal(known, line)):
            news[int(times_us[line])] = line
    return np.array([news[time_us] for time_us in sorted(news)], dtype=np.intp)


def _frame(times_ms: Float64Array, times_us: Int64Array, clock_us: Int64Array, bids: Side, asks: Side) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "time_ms": times_ms,
            "time": pd.DatetimeIndex(times_us.view("datetime64[us]"), tz="UTC"),
            "ahead_s": (times_us - clock_us) / 1e6,
            "bid_count": bids.count,
            "ask_count": asks.count,
            **_faults_of_levels(bids, asks),
            "best_bid": bids.best,
            "best_ask": asks.best,
        }
    )


def _faults_of_levels(bids: Side, asks: Side) -> dict[str, Int64Array]:
    """How many levels of each sample have each of LEVEL_FAULTS."""

    def of_both(is_so: Callable[[Side], npt.NDArray[np.bool_]]) -> Int64Array:
        return bids.number_of(is_so(bids)) + asks.number_of(is_so(asks))

    return {
        "level_not_a_pair": of_both(lambda side: ~side.is_pair),
        "price_not_finite": of_both(lambda side: side.is_pair & ~np.isfinite(side.price)),
        "price_not_positive": of_both(lambda side: side.price <= 0),
        "amount_not_finite": of_both(lambda side: side.is_pair & ~np.isfinite(side.amount)),
        "amount_not_positive": of_both(lambda side: side.amount <= 0),
        "bids_not_descending": bids.number_of(bids.follows(np.greater_equal)),
        "asks_not_ascending": asks.number_of(asks.follows(np.less_equal)),
    }


def _time_ms(sample: BookSample) -> object:
    """The exchange's word, whatever it is, else its clock."""
    return to_us(sample.exchange_at) / 1000 if sample.exchange_ms is None else sample.exchange_ms


def _nonce(nonce: object) -> int:
    if isinstance(nonce, bool) or not isinstance(nonce, int):
        return NO_NONCE
    return nonce if 0 <= nonce <= _LARGEST_NONCE else NO_NONCE
