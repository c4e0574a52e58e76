"""Validation of what exchanges send: rows are split into good ones and rejects with named reasons."""

from tapehouse.errors import needs_extra

with needs_extra("Validation needs", "pandera", extra="ingest"):
    from tapehouse.validate.books import BookSplit, split_books
    from tapehouse.validate.candles import CandleSplit, split_candles
    from tapehouse.validate.trades import TradeSplit, split_trades

__all__ = ["BookSplit", "CandleSplit", "TradeSplit", "split_books", "split_candles", "split_trades"]
