"""Labelling: for each minute what was known then, and beside it, kept apart, what the price did afterwards."""

import argparse
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from tapehouse import MarketData

# A label is up or down if the price moved by more than this, else flat.
THRESHOLD = 0.0005


def future_returns(close: pd.Series, horizon: timedelta) -> pd.Series:
    """By when a bar of 1m closed, how the price changed within the horizon; without those not known yet."""
    closed = close.set_axis(close.index + timedelta(minutes=1))
    return (closed.shift(freq=-horizon).reindex(closed.index) / closed - 1).dropna()


def main() -> None:
    """Write the arrays of all moments and their labels into one file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="PostgreSQL URL; else TAPEHOUSE_DATABASE_URL, or the embedded database")
    parser.add_argument("--exchange", default="binance")
    parser.add_argument("--symbol", default="BTC/USDT")
    parser.add_argument("--hours", type=float, default=1)
    parser.add_argument("--horizon", type=int, default=5, help="minutes")
    parser.add_argument("--out", type=Path, default=Path("labels.npz"))
    options = parser.parse_args()

    end = datetime.now(UTC)
    with MarketData.connect(options.url) as market:
        bars = market.candles(options.exchange, options.symbol, "1m", end - timedelta(hours=options.hours), end)
        future = future_returns(bars["close"], timedelta(minutes=options.horizon))
        if future.empty:
            raise SystemExit(f"Too few candles of 1m in the last {options.hours:g} hours.")
        times = [time.to_pydatetime() for time in future.index]
        moments = market.iter_inference_data(options.symbol, times, exchange=options.exchange)
        arrays = [data.to_numpy() for _, data in moments]

    labels = np.where(future.abs() > THRESHOLD, np.sign(future), 0.0)
    nouns = ("ohlcv_1m", "ohlcv_5m", "indicators", "imbalances", "order_book")
    features = {noun: np.stack([one[noun] for one in arrays]) for noun in nouns}
    features |= {"time_s": np.array([time.timestamp() for time in times]), "label": labels}
    np.savez_compressed(options.out, allow_pickle=False, **features)
    print(f"{len(labels)} moments: {(labels > 0).sum()} up, {(labels < 0).sum()} down, {(labels == 0).sum()} flat")
    print(f"{options.out}: {', '.join(f'{noun} {array.shape}' for noun, array in features.items())}")


if __name__ == "__main__":
    main()
