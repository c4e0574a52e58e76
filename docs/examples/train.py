"""Training: moments as arrays of fixed shapes, stacked, and a linear model of the next minute fitted to them."""

import argparse
from datetime import UTC, datetime, timedelta

import numpy as np

from tapehouse import MarketData
from tapehouse.candle import Float64Array

CLOSE, LAGS = 3, 5


def features(arrays: dict[str, Float64Array]) -> Float64Array:
    """The last returns, and how order book and trades lean; 0 where something is not known."""
    returns = np.diff(np.log(arrays["ohlcv_1m"][-LAGS - 1 :, CLOSE]))
    return np.nan_to_num(np.concatenate([[1.0], returns, arrays["imbalances"][-1]]))


def main() -> None:
    """Fit on what came first, and tell how well that predicts the rest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="PostgreSQL URL; else TAPEHOUSE_DATABASE_URL, or the embedded database")
    parser.add_argument("--exchange", default="binance")
    parser.add_argument("--symbol", default="BTC/USDT")
    parser.add_argument("--hours", type=float, default=1)
    options = parser.parse_args()

    end = datetime.now(UTC)
    with MarketData.connect(options.url) as market:
        bars = market.candles(options.exchange, options.symbol, "1m", end - timedelta(hours=options.hours), end)
        if len(bars) < 40:
            raise SystemExit(f"Too few candles of 1m in the last {options.hours:g} hours.")
        closes = [opened.to_pydatetime() + timedelta(minutes=1) for opened in bars.index]
        moments = market.iter_inference_data(options.symbol, closes[:-1], exchange=options.exchange, indicators=[])
        known = np.stack([features(data.to_numpy()) for _, data in moments])

    future: Float64Array = np.diff(np.log(bars["close"].to_numpy(dtype=np.float64)))
    split = 3 * len(future) // 4
    weights = np.linalg.lstsq(known[:split], future[:split], rcond=None)[0]
    error = future[split:] - known[split:] @ weights
    explained = 1 - float((error**2).mean() / ((future[split:] - future[:split].mean()) ** 2).mean())
    print(f"fitted {known[:split].shape[1]} weights to {split} moments")
    print(f"of {len(error)} later ones, {explained:.1%} of the variance is explained")


if __name__ == "__main__":
    main()
