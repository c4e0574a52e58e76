"""A bot's loop: what is known of a market now, asked again and again.

Only what has changed is read from the database again, so asking more often costs next to nothing.
"""

import argparse
import time
from datetime import timedelta
from typing import Final, Literal

from tapehouse import MarketData
from tapehouse.query.inference import InferenceDataFrame

# Older than this, what is known is no ground to act on.
PRICE_COUNTS: Final = timedelta(minutes=2)
IMBALANCE_COUNTS: Final = timedelta(seconds=30)


def decide(data: InferenceDataFrame) -> Literal["buy", "sell", "wait"]:
    """Go with the price, unless the order book leans the other way; wait while the price is old."""
    price, priced_at = data.get_latest_price(), data.latest_price_at
    averages = data.indicators["ema_20"].dropna()
    if price is None or priced_at is None or averages.empty or data.timestamp - priced_at > PRICE_COUNTS:
        return "wait"
    # Features are computed with each refresh, so the last one may be of some minutes ago.
    leans = data.imbalances["book_imbalance_15s"].loc[data.timestamp - IMBALANCE_COUNTS :].dropna()
    lean = leans.iloc[-1] if len(leans) else 0.0
    if price > averages.iloc[-1] and lean >= 0:
        return "buy"
    return "sell" if price < averages.iloc[-1] and lean <= 0 else "wait"


def main() -> None:
    """Decide a few times, and say why."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="PostgreSQL URL; else TAPEHOUSE_DATABASE_URL, or the embedded database")
    parser.add_argument("--exchange", default="binance")
    parser.add_argument("--symbol", default="BTC/USDT")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--every", type=float, default=1.0, help="seconds")
    options = parser.parse_args()

    with MarketData.connect(options.url) as market:
        print(market.get_inference_data(options.symbol, exchange=options.exchange).explain())
        for _ in range(options.rounds):
            data = market.get_inference_data(options.symbol, exchange=options.exchange)
            book = data.order_book
            spread = f"{book.spread:.2f}" if book else "unknown"
            print(f"{data.timestamp:%H:%M:%S} {decide(data)}: price {data.get_latest_price()}, spread {spread}")
            time.sleep(options.every)


if __name__ == "__main__":
    main()
