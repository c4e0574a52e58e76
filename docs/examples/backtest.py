"""A backtest: at the close of each bar what was known then decides, and the next bar says what came of it."""

import argparse
from datetime import UTC, datetime, timedelta

import numpy as np

from tapehouse import MarketData
from tapehouse.query.inference import InferenceDataFrame

FEE = 0.0005


def is_long(data: InferenceDataFrame) -> bool:
    """Whether to hold the market until the next close: while its price is above its average."""
    last = data.latest_candle("1m")
    averages = data.indicators["ema_20"]
    return last is not None and len(averages) > 0 and bool(last.close > averages.iloc[-1])


def main() -> None:
    """Compare deciding with holding."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="PostgreSQL URL; else TAPEHOUSE_DATABASE_URL, or the embedded database")
    parser.add_argument("--exchange", default="binance")
    parser.add_argument("--symbol", default="BTC/USDT")
    parser.add_argument("--hours", type=float, default=1)
    options = parser.parse_args()

    end = datetime.now(UTC)
    with MarketData.connect(options.url) as market:
        bars = market.candles(options.exchange, options.symbol, "1m", end - timedelta(hours=options.hours), end)
        if len(bars) < 2:
            raise SystemExit(f"Too few candles of 1m in the last {options.hours:g} hours.")
        closes = [opened.to_pydatetime() + timedelta(minutes=1) for opened in bars.index]
        moments = market.iter_inference_data(options.symbol, closes, exchange=options.exchange, indicators=["ema_20"])
        held = np.array([float(is_long(data)) for _, data in moments])

    # What is decided at one close earns what the price does until the next.
    returns = bars["close"].pct_change().to_numpy()[1:]
    changes = np.abs(np.diff(held, prepend=0.0))[:-1]
    earned = np.prod(1 + held[:-1] * returns - FEE * changes) - 1
    holding = np.prod(1 + returns) - 1
    print(f"{len(bars)} bars, {changes.sum():.0f} orders: {earned:+.3%}; holding: {holding:+.3%}")


if __name__ == "__main__":
    main()
