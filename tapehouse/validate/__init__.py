"""Validation of what exchanges send: rows are split into good ones and rejects with named reasons."""

from tapehouse.errors import MissingExtra

try:
    from tapehouse.validate.candles import CandleSplit, split_candles
except ModuleNotFoundError as missing:
    if (missing.name or "").partition(".")[0] != "pandera":
        raise
    raise MissingExtra("Validation needs pandera: run pip install 'tapehouse[ingest]'.") from missing

__all__ = ["CandleSplit", "split_candles"]
