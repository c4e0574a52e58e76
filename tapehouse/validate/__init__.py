"""Validation of what exchanges send: rows are split into good ones and rejects with named reasons."""

from tapehouse.errors import needs_extra

with needs_extra("Validation needs", "pandera", extra="ingest"):
    from tapehouse.validate.candles import CandleSplit, split_candles

__all__ = ["CandleSplit", "split_candles"]
