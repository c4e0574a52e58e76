"""The store added to a data provider that exists already, and used where it is enabled."""

import argparse
from datetime import UTC, datetime

from tapehouse.provider import UnifiedStorage


class QuoteProvider:
    """What a bot has had all along; it knows nothing of the store."""

    def quote(self, symbol: str) -> str:
        """Some text about a symbol."""
        return f"{symbol} at {datetime.now(UTC):%H:%M}"


class StoringProvider(UnifiedStorage, QuoteProvider):
    """The same, which can also be asked what is stored."""

    def quote(self, symbol: str) -> str:
        """Some text about a symbol, with its last price where the store is enabled."""
        text = super().quote(symbol)
        if not self.is_unified_storage_enabled():
            return text
        return f"{text}: {self.get_inference_data_unified(symbol).get_latest_price()}"


def main() -> None:
    """Ask without the store, and with it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="PostgreSQL URL; else TAPEHOUSE_DATABASE_URL, or the embedded database")
    parser.add_argument("--exchange", default="binance")
    parser.add_argument("--symbol", default="BTC/USDT")
    options = parser.parse_args()

    provider = StoringProvider()
    print(provider.quote(options.symbol))
    provider.enable_unified_storage(options.url, exchange=options.exchange)
    try:
        print(provider.quote(options.symbol))
        print(provider.get_unified_storage_stats())
    finally:
        provider.disable_unified_storage()


if __name__ == "__main__":
    main()
