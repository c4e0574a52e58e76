"""The generated markets: which exchanges list what, since when, how liquid."""

from datetime import UTC, datetime
from typing import Final

from tapehouse.sandbox.generator import Character, GeneratedHistory
from tapehouse.sandbox.market import Market


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


_OLD: Final = _ms("2025-01-01")
_NEW: Final = _ms("2025-07-01T09:30")
_GONE: Final = _ms("2025-03-31T08:00")
_SETTLED: Final = _ms("2027-12-31T08:00")

# Price and its decimals, the amount's decimals, trades a minute, lots a trade, listed, delisted.
# QUILL is thin, EMBER came late and RELIC is gone; none of the three exists. Dated futures end with 2027.
_CHARACTERS: Final = (
    Character("binance", "BTC/USDT", 64_000, 2, 5, 8, 900, _OLD),
    Character("binance", "ETH/USDT", 3_200, 2, 4, 6, 2_000, _OLD),
    Character("binance", "SOL/USDT", 150, 2, 3, 4, 4_000, _OLD),
    Character("binance", "ETH/BTC", 0.05, 5, 4, 3, 800, _OLD),
    Character("binance", "QUILL/USDT", 0.0425, 5, 1, 0.12, 20_000, _OLD),
    Character("binance", "EMBER/USDT", 1.25, 4, 2, 4, 15_000, _NEW),
    Character("binance", "RELIC/USDT", 7.5, 3, 2, 2, 3_000, _OLD, _GONE),
    Character("binanceusdm", "BTC/USDT:USDT", 64_000, 1, 3, 8, 40, _OLD),
    Character("binanceusdm", "ETH/USDT:USDT", 3_200, 2, 3, 7, 900, _OLD),
    Character("binanceusdm", "SOL/USDT:USDT", 150, 2, 2, 5, 1_500, _OLD),
    Character("binanceusdm", "QUILL/USDT:USDT", 0.0425, 5, 0, 0.2, 9_000, _OLD),
    Character("binanceusdm", "EMBER/USDT:USDT", 1.25, 4, 1, 4, 3_000, _NEW),
    Character("kraken", "BTC/USD", 64_000, 1, 8, 6, 1_500_000, _OLD),
    Character("kraken", "BTC/EUR", 59_000, 1, 8, 3, 1_000_000, _OLD),
    Character("kraken", "ETH/USD", 3_200, 2, 8, 4, 40_000_000, _OLD),
    Character("kraken", "SOL/USD", 150, 2, 8, 2, 500_000_000, _OLD),
    Character("kraken", "QUILL/USD", 0.0425, 5, 5, 0.08, 200_000_000, _OLD),
    Character("kraken", "RELIC/USD", 7.5, 3, 8, 1, 3_000_000_000, _OLD, _GONE),
    Character("coinbaseexchange", "BTC/USD", 64_000, 2, 8, 5, 1_200_000, _OLD),
    Character("coinbaseexchange", "ETH/USD", 3_200, 2, 8, 3, 30_000_000, _OLD),
    Character("coinbaseexchange", "SOL/USD", 150, 2, 8, 2, 400_000_000, _OLD),
    Character("coinbaseexchange", "QUILL/USD", 0.0425, 5, 1, 0.1, 15_000, _OLD),
    Character("coinbase", "BTC/USD", 64_000, 2, 8, 5, 1_200_000, _OLD),
    Character("coinbase", "ETH/USD", 3_200, 2, 8, 3, 30_000_000, _OLD),
    Character("coinbase", "SOL/USD", 150, 2, 8, 2, 400_000_000, _OLD),
    Character("coinbase", "QUILL/USD", 0.0425, 5, 1, 0.1, 15_000, _OLD),
    Character("coinbase", "RELIC/USD", 7.5, 3, 2, 1, 3_000, _OLD, _GONE),
    Character("okx", "BTC/USDT", 64_000, 1, 8, 7, 1_000_000, _OLD),
    Character("okx", "ETH/USDT", 3_200, 2, 6, 5, 200_000, _OLD),
    Character("okx", "SOL/USDT", 150, 2, 6, 3, 4_000_000, _OLD),
    Character("okx", "QUILL/USDT", 0.0425, 5, 1, 0.1, 20_000, _OLD),
    Character("okx", "BTC/USDT:USDT", 64_000, 1, 2, 7, 400, _OLD, contract_size=0.01),
    Character("okx", "ETH/USDT:USDT", 3_200, 2, 2, 6, 900, _OLD, contract_size=0.1),
    Character("okx", "BTC/USD:BTC", 64_000, 1, 0, 3, 20, _OLD, contract_size=100.0),
    Character("okx", "BTC/USD:BTC-271231", 64_000, 1, 0, 1, 20, _NEW, _SETTLED, contract_size=100.0),
    Character("okx", "RELIC/USDT", 7.5, 3, 2, 1, 3_000, _OLD, _GONE),
    Character("bybit", "BTC/USDT", 64_000, 1, 6, 6, 1_200, _OLD),
    Character("bybit", "ETH/USDT", 3_200, 2, 5, 4, 4_000, _OLD),
    Character("bybit", "SOL/USDT", 150, 2, 3, 3, 4_000, _OLD),
    Character("bybit", "QUILL/USDT", 0.0425, 5, 1, 0.1, 20_000, _OLD),
    Character("bybit", "BTC/USDT:USDT", 64_000, 1, 3, 8, 40, _OLD),
    Character("bybit", "ETH/USDT:USDT", 3_200, 2, 2, 6, 90, _OLD),
    Character("bybit", "BTC/USD:BTC", 64_000, 1, 0, 4, 900, _OLD, contract_size=1.0),
    Character("bybit", "BTC/USD:BTC-271231", 64_000, 1, 0, 1, 900, _NEW, _SETTLED, contract_size=1.0),
    Character("bybit", "RELIC/USDT:USDT", 7.5, 3, 1, 1, 3_000, _OLD, _GONE),
)


def generated_markets(*, seed: int, extra: int = 0) -> list[Market]:
    """The generated markets of all exchanges; the same seed gives the same trades everywhere.

    `extra` adds so many spot markets of Binance, EXTRA001/USDT and on, to try out many at once.
    """
    characters = [*_CHARACTERS, *(_extra(number) for number in range(1, extra + 1))]
    return [_market(seed, character) for character in characters]


def _extra(number: int) -> Character:
    return Character("binance", f"EXTRA{number:03d}/USDT", 0.5 + number / 4, 4, 1, 6, 2_000, _OLD)


def _market(seed: int, character: Character) -> Market:
    return Market(
        character.exchange,
        character.symbol,
        character.price_decimals,
        character.amount_decimals,
        character.delisted_ms in (None, _SETTLED),
        GeneratedHistory(seed, character),
        character.contract_size,
    )
