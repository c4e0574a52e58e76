"""The series of the campaign of planted gaps: a few, or some forty of several exchanges.

What a planted gap is, is told by `planted`.
"""

import random
from datetime import UTC, datetime, timedelta
from typing import Final

from tapehouse.timeframe import timeframe
from tests.ingest.planted import BARS, BASE, NOW, Histories, Plant, Planted

MINUTE: Final = timedelta(minutes=1)
# Kraken gives its last 720 candles, whatever is asked for.
KRAKEN_BARS, KRAKEN_LOST = 800, 80


def _plants(rng: random.Random, count: int, *, units: int = BARS, lasting: bool = True) -> list[Plant]:
    """Gaps of all causes that a fault or a pause makes, in random places, none beside another."""
    planted: list[Plant] = []
    room = units // count
    for place in range(count):
        cause = rng.choice(("never_asked", "failed", "rejected", "exchange_empty"))
        size = rng.randint(1, 6 if cause == "rejected" else room // 3)
        lasts = lasting and cause in ("rejected", "exchange_empty") and rng.random() < 0.4
        planted.append(Plant(place * room + rng.randint(2, room // 2), size, cause, lasts))
    return planted


def markets_planted(rng: random.Random, histories: Histories, *, is_full: bool) -> list[Planted]:
    """The series of the campaign; in a short one few of each kind."""
    often = 6
    extras = [f"EXTRA{number:03d}/USDT" for number in range(1, 13 if is_full else 2)]
    some = [
        *(Planted("binance", symbol, plants=_plants(rng, often)) for symbol in extras),
        # Minutes that the exchange does not give, and trades of them.
        Planted("binance", "BTC/USDT", plants=[*_lasting(100, 30), Plant(300, 20, "failed")], own=range(100, 130)),
        Planted("binance", "BTC/USDT", None, BASE + 100 * MINUTE, 30 * 60_000),
        # Longer candles that the exchange does not give, and the minutes of them.
        Planted("binance", "ETH/USDT", units=300),
        Planted("binance", "ETH/USDT", timeframe("5m"), units=60, plants=_lasting(10, 20), own=range(60)),
        _trades_with_gaps(rng, histories),
        Planted("binance", "EMBER/USDT", start=datetime(2025, 7, 1, 6, tzinfo=UTC)),
        Planted("binance", "RELIC/USDT", start=datetime(2025, 3, 31, 0, tzinfo=UTC), plants=[Plant(50, 9, "failed")]),
        Planted("okx", "BTC/USDT", plants=[*_plants(rng, often)]),
        Planted(
            "kraken",
            "BTC/USD",
            start=NOW - KRAKEN_BARS * MINUTE,
            units=KRAKEN_BARS,
            plants=[*_lost()],
            own=range(20, 60),
        ),
        Planted("kraken", "BTC/USD", None, NOW - (KRAKEN_BARS - 20) * MINUTE, 40 * 60_000),
    ]
    if not is_full:
        return some
    more = [
        *(Planted("binanceusdm", symbol, plants=_plants(rng, often)) for symbol in ("BTC/USDT:USDT", "ETH/USDT:USDT")),
        Planted("binanceusdm", "EMBER/USDT:USDT", start=datetime(2025, 7, 1, 4, tzinfo=UTC)),
        Planted("binance", "EMBER/USDT", timeframe("5m"), datetime(2025, 7, 1, tzinfo=UTC), 200),
        Planted(
            "binance", "RELIC/USDT", timeframe("5m"), datetime(2025, 3, 31, tzinfo=UTC), 200, _plants(rng, 3, units=90)
        ),
        Planted("binance", "SOL/USDT", timeframe("5m"), BASE - timedelta(days=3), plants=_plants(rng, often)),
        Planted("binance", "ETH/BTC", timeframe("15m"), BASE - timedelta(days=9), plants=_plants(rng, often)),
        Planted("okx", "ETH/USDT", plants=_plants(rng, often)),
        # An exchange that gives nothing of one market, neither before nor while it is repaired.
        Planted("okx", "SOL/USDT", plants=[Plant(100, 20, "failed", lasts=True), Plant(400, 5, "failed", lasts=True)]),
        Planted("okx", "QUILL/USDT", timeframe("1h"), BASE - timedelta(days=30), 600, _plants(rng, often)),
        *(Planted("bybit", f"{base}/USDT", plants=_plants(rng, often)) for base in ("BTC", "ETH", "SOL", "QUILL")),
        Planted("bybit", "ETH/USDT", timeframe("5m"), BASE - timedelta(days=5), plants=_plants(rng, often)),
        Planted("bybit", "BTC/USDT", None, BASE, 60_000, [Plant(0, 60_000, "beyond_exchange_history", lasts=True)]),
        *(Planted("coinbaseexchange", f"{base}/USD", plants=_plants(rng, often)) for base in ("BTC", "ETH", "SOL")),
        Planted("coinbaseexchange", "BTC/USD", timeframe("1h"), BASE - timedelta(days=30), plants=_plants(rng, often)),
        Planted(
            "kraken",
            "ETH/USD",
            start=NOW - KRAKEN_BARS * MINUTE,
            units=KRAKEN_BARS,
            plants=[*_lost(), Plant(400, 30, "failed")],
        ),
        Planted(
            "kraken",
            "SOL/USD",
            start=NOW - KRAKEN_BARS * MINUTE,
            units=KRAKEN_BARS,
            plants=[*_lost(), Plant(300, 5, "rejected")],
        ),
    ]
    return sorted([*some, *more], key=lambda one: one.exchange)


def _lasting(first: int, units: int) -> list[Plant]:
    """Some bars that the exchange leaves out for good, and some that it gives wrong for good."""
    half = units // 2
    return [
        Plant(first, half - 2, "exchange_empty", lasts=True),
        Plant(first + half, half - 2 if half < 12 else 9, "rejected", lasts=True),
    ]


def _lost() -> list[Plant]:
    return [Plant(0, KRAKEN_LOST, "beyond_exchange_history", lasts=True)]


def _trades_with_gaps(rng: random.Random, histories: Histories) -> Planted:
    """Half an hour of trades, of which some minutes are missing, and two trades came wrong."""
    series = Planted("binance", "ETH/USDT", None, BASE, 30 * 60_000)
    minute = 60_000
    times = histories.trade_times(series)
    wrong = {rng.choice([time for time in times if low * minute <= time < (low + 2) * minute]) for low in (14, 20)}
    series.plants = [
        Plant(5 * minute, minute, "never_asked"),
        Plant(9 * minute, 2 * minute, "failed"),
        *(Plant(time, 1, "rejected") for time in sorted(wrong)),
    ]
    return series
