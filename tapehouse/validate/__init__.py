"""Validation of what exchanges send: rows are split into good ones and rejects with named reasons."""

from tapehouse.errors import needs_extra

with needs_extra("Validation needs", "pandera", extra="ingest"):
    from tapehouse.validate.books import BookSplit, split_books
    from tapehouse.validate.candles import CandleSplit, split_candle_columns, split_candles
    from tapehouse.validate.trades import TradeColumns, TradeSplit, split_trade_columns, split_trades

__all__ = [
    "BookSplit",
    "CandleSplit",
    "TradeColumns",
    "TradeSplit",
    "split_books",
    "split_candle_columns",
    "split_candles",
    "split_trade_columns",
    "split_trades",
]
