"""The recorded session of Binance's streams as batches: its trades, and its order books once a second.

Reading the files and replaying the books is the sandbox's, which serves them too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from tapehouse.book import BookBatch
from tapehouse.candle import Int64Array
from tapehouse.sandbox.market import Market
from tapehouse.sandbox.tape import NS_PER_MS, Book
from tapehouse.sandbox.trading import recorded_trading
from tapehouse.trade import BOUGHT, SOLD, TradeBatch

_DEPTH: Final = 20
_SECOND_MS: Final = 1000
# Binance's REST answers tell no time, so a snapshot has that of its arrival, to the microsecond.
_MOST_LATENESS_US: Final = 20_000


@dataclass(frozen=True, slots=True)
class RecordedMarket:
    """One market of the session."""

    market: Market

    @property
    def price_decimals(self) -> int:
        """The decimals that the exchange announces for prices."""
        return self.market.price_decimals

    @property
    def amount_decimals(self) -> int:
        """The decimals that the exchange announces for amounts."""
        return self.market.amount_decimals

    def trades(self) -> TradeBatch:
        """All trades."""
        history = self.market.history
        assert history.end_ms is not None
        trades = history.ranked(0, history.rank_at(history.end_ms * NS_PER_MS))
        return TradeBatch(
            time_us=1000 * trades.time_ms,
            trade_id=trades.trade_id,
            id_text=np.zeros(len(trades), dtype="<U1"),
            price=trades.price / 10.0**history.price_decimals,
            amount=trades.amount / 10.0**history.amount_decimals,
            side=np.where(trades.buyer_took == 1, BOUGHT, SOLD).astype(np.int16),
        )

    def books(self, *, offset_ms: int = 0) -> BookBatch:
        """The best 20 levels once a second, as many ms after the session's beginning, each a bit late."""
        history = self.market.history
        assert history.end_ms is not None
        instants_ms = range(history.first_ms + offset_ms, history.end_ms, _SECOND_MS)
        books = [(time_ms, book) for time_ms in instants_ms if len((book := history.book(time_ms, _DEPTH)).bid_price)]
        return _batch(
            np.array([time_ms for time_ms, _ in books]),
            [book for _, book in books],
            10.0**history.price_decimals,
            10.0**history.amount_decimals,
            np.random.default_rng(offset_ms),
        )


def recorded_session(folder: Path) -> list[RecordedMarket]:
    """The markets of the session below the folder of recordings; none if it is not there."""
    return [RecordedMarket(market) for market in recorded_trading(folder)]


def _batch(
    times_ms: Int64Array,
    books: Sequence[Book],
    price_scale: float,
    amount_scale: float,
    random: np.random.Generator,
) -> BookBatch:
    time_us = 1000 * times_ms + random.integers(0, _MOST_LATENESS_US, len(books))
    return BookBatch(
        time_us=time_us,
        received_us=time_us + random.integers(0, _MOST_LATENESS_US, len(books)),
        nonce=np.array([book.nonce for book in books]),
        bid_count=np.array([len(book.bid_price) for book in books]),
        ask_count=np.array([len(book.ask_price) for book in books]),
        bid_price=np.concatenate([book.bid_price for book in books]) / price_scale,
        bid_amount=np.concatenate([book.bid_amount for book in books]) / amount_scale,
        ask_price=np.concatenate([book.ask_price for book in books]) / price_scale,
        ask_amount=np.concatenate([book.ask_amount for book in books]) / amount_scale,
    )
