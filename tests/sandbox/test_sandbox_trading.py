"""Recorded trading: every trade comes back as it was recorded, and the book as the recording tells it."""

import gzip
import json
import shutil
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, Final

import pytest

from tapehouse.errors import InputError
from tapehouse.sandbox import Market, Sandbox, recorded_markets, recorded_trading
from tests.sandbox.conftest import UNLIMITED
from tests.sandbox.http import get

RECORDINGS: Final = Path(__file__).parents[3] / "shared" / "data"
FOLDER: Final = RECORDINGS / "l2_trades" / "binance_spot"
NAMES: Final = pytest.mark.parametrize("name", ["btcusdt", "ethusdt"])
FIRST_IDS: Final = {"btcusdt": 3735683259, "ethusdt": 1520538925}
COUNTS: Final = {"btcusdt": 19904, "ethusdt": 14515}
MINUTE_MS: Final = 60_000
DAY_MS: Final = 86_400_000
MIDNIGHT_MS: Final = 1_723_161_600_000
pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="needs the recorded files in ../shared/data")


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now_ms = MIDNIGHT_MS + DAY_MS

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture(scope="module")
def recorded() -> list[Market]:
    return recorded_trading(RECORDINGS)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def replay(recorded: list[Market], clock: Clock) -> Iterator[Sandbox]:
    with Sandbox(recorded, limits=UNLIMITED, clock_ms=clock) as sandbox:
        yield sandbox


@cache
def messages(name: str) -> list[Any]:
    """The recorded messages in the order they came."""
    found: list[Any] = []
    for day in ("20240808", "20240809"):
        with gzip.open(FOLDER / f"{name}_{day}.gz", "rt") as lines:
            read = [json.loads(line.partition(" ")[2]) for line in lines if "bookTicker" not in line]
        found += [message.get("data", message) for message in read]
    return found


def recorded_trades(name: str) -> list[tuple[int, int, Decimal, Decimal, bool]]:
    return [
        (data["t"], data["T"], Decimal(data["p"]), Decimal(data["q"]), data["m"])
        for data in messages(name)
        if data.get("e") == "trade"
    ]


def book_of(name: str, now_ms: int) -> tuple[dict[Decimal, Decimal], dict[Decimal, Decimal]]:
    """The book that the snapshot and the changes up to that time make."""
    snapshot = next(data for data in messages(name) if "lastUpdateId" in data)
    bids = dict(decimals(snapshot["bids"]))
    asks = dict(decimals(snapshot["asks"]))
    for data in messages(name):
        if data.get("u", 0) > snapshot["lastUpdateId"] and data["E"] <= now_ms:
            bids |= decimals(data["b"])
            asks |= decimals(data["a"])
    return {p: a for p, a in bids.items() if a}, {p: a for p, a in asks.items() if a}


def decimals(levels: list[list[str]]) -> list[tuple[Decimal, Decimal]]:
    return [(Decimal(price), Decimal(amount)) for price, amount in levels]


@NAMES
def test_every_recorded_trade_comes_back_by_id(replay: Sandbox, name: str) -> None:
    rows: list[Any] = []
    next_id = FIRST_IDS[name]

    while page := get(replay, f"api.binance.com/api/v3/aggTrades?symbol={name.upper()}&fromId={next_id}&limit=1000"):
        rows += page
        next_id = page[-1]["a"] + 1

    served = [(row["a"], row["T"], Decimal(row["p"]), Decimal(row["q"]), row["m"]) for row in rows]
    assert served == recorded_trades(name)
    assert len(served) == COUNTS[name]


@NAMES
def test_candles_are_those_of_the_recorded_trades(replay: Sandbox, name: str) -> None:
    minutes: dict[int, list[tuple[Decimal, Decimal]]] = {}
    for _, time_ms, price, amount, _ in recorded_trades(name):
        minutes.setdefault(time_ms // MINUTE_MS * MINUTE_MS, []).append((price, amount))

    rows = get(replay, f"api.binance.com/api/v3/klines?symbol={name.upper()}&interval=1m&startTime=0&limit=1000")

    candles = {row[0]: [Decimal(value) for value in row[1:6]] + [row[8]] for row in rows}
    assert candles == {
        open_ms: [
            trades[0][0],
            max(price for price, _ in trades),
            min(price for price, _ in trades),
            trades[-1][0],
            sum(amount for _, amount in trades),
            len(trades),
        ]
        for open_ms, trades in minutes.items()
    }
    assert len(candles) == 12


@pytest.mark.parametrize(
    ("symbol", "open_ms", "candle"),
    [
        ("BTCUSDT", MIDNIGHT_MS - 2 * MINUTE_MS, ["61652.00", "61745.27", "61583.22", "61717.63", "77.14202", 3216]),
        ("ETHUSDT", MIDNIGHT_MS + MINUTE_MS, ["2679.40", "2679.40", "2673.60", "2677.41", "841.985", 2799]),
    ],
)
def test_two_candles_are_as_they_were_counted_by_hand(
    replay: Sandbox, symbol: str, open_ms: int, candle: list[Any]
) -> None:
    (row,) = get(replay, f"api.binance.com/api/v3/klines?symbol={symbol}&interval=1m&startTime={open_ms}&limit=1")

    assert [Decimal(value) for value in row[1:6]] == [Decimal(value) for value in candle[:5]]
    assert row[8] == candle[5]


@NAMES
@pytest.mark.parametrize("second", [-343, -200, 0, 300])
def test_the_book_is_the_snapshot_with_every_change_so_far(
    replay: Sandbox, clock: Clock, name: str, second: int
) -> None:
    clock.now_ms = MIDNIGHT_MS + 1000 * second
    bids, asks = book_of(name, clock.now_ms)

    book = get(replay, f"api.binance.com/api/v3/depth?symbol={name.upper()}&limit=5000")

    assert decimals(book["bids"]) == sorted(bids.items(), reverse=True)
    assert decimals(book["asks"]) == sorted(asks.items())
    assert len(book["bids"]) > 900


@NAMES
def test_the_book_begins_with_the_snapshot_at_the_first_recorded_moment(
    replay: Sandbox, clock: Clock, name: str
) -> None:
    snapshot = next(data for data in messages(name) if "lastUpdateId" in data)
    first = next(data for data in messages(name) if data.get("u", 0) > snapshot["lastUpdateId"])
    # Of all messages about both markets.
    began_ms = min(data.get("T", data.get("E", 2**63)) for name in FIRST_IDS for data in messages(name))
    path = f"api.binance.com/api/v3/depth?symbol={name.upper()}&limit=1000"

    clock.now_ms = began_ms - 1
    before = get(replay, path)
    clock.now_ms = began_ms
    at_first = get(replay, path)
    clock.now_ms = first["E"]
    after = get(replay, path)

    assert (before["lastUpdateId"], before["bids"], before["asks"]) == (0, [], [])
    assert at_first == {side: snapshot[side] for side in ("lastUpdateId", "bids", "asks")}
    assert after["lastUpdateId"] == first["u"]


@NAMES
def test_after_the_recording_the_book_stays_as_it_was(replay: Sandbox, clock: Clock, name: str) -> None:
    last = [data for data in messages(name) if data.get("e") == "depthUpdate"][-1]
    path = f"api.binance.com/api/v3/depth?symbol={name.upper()}"

    clock.now_ms = last["E"]
    at_the_end = get(replay, path)
    clock.now_ms += DAY_MS

    assert get(replay, path) == at_the_end
    assert at_the_end["lastUpdateId"] == last["u"]


def test_shifting_to_now_moves_trades_and_books_by_whole_days(recorded: list[Market]) -> None:
    now_ms = MIDNIGHT_MS + 700 * DAY_MS + 3 * MINUTE_MS
    shifted = recorded_markets(RECORDINGS / "l2_trades", shift_to_now=True, now_ms=now_ms)

    # The recordings end after 00:03, so within the day before.
    shift_ms = 699 * DAY_MS
    assert [market.symbol for market in shifted] == ["BTC/USDT", "ETH/USDT"]
    for was, now in zip(recorded, shifted, strict=True):
        trades, moved = was.history.ranked(0, 10**6), now.history.ranked(0, 10**6)
        assert (moved.time_ms - trades.time_ms).tolist() == [shift_ms] * len(trades)
        assert now.history.book(MIDNIGHT_MS + shift_ms, 20).bid_price.tolist() == (
            was.history.book(MIDNIGHT_MS, 20).bid_price.tolist()
        )


def test_no_market_is_served_twice() -> None:
    spot = {m.symbol: m.history for m in recorded_markets(RECORDINGS) if m.exchange == "binance"}

    # 2021-02-19: the minutes of that week, and not the trading of 2024.
    assert list(spot) == ["BTC/USDT", "ETH/USDT"]
    assert spot["BTC/USDT"].first_ms == 1_613_692_800_000
    assert len(spot["ETH/USDT"].ranked(0, 10**6)) == COUNTS["ethusdt"]


def test_a_book_without_its_beginning_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "l2_trades" / "binance_spot"
    folder.mkdir(parents=True)
    shutil.copy(FOLDER / "btcusdt_20240809.gz", folder)

    with pytest.raises(InputError, match="BTC/USDT"):
        recorded_trading(tmp_path)


def test_a_book_that_lacks_a_change_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "l2_trades" / "binance_spot"
    folder.mkdir(parents=True)
    with gzip.open(FOLDER / "ethusdt_20240808.gz", "rt") as lines:
        kept = list(islice(lines, 3000))
    del kept[[index for index, line in enumerate(kept) if "@depth" in line][100]]
    with gzip.open(folder / "ethusdt_20240808.gz", "wt") as file:
        file.writelines(kept)

    with pytest.raises(InputError, match="lacks the changes"):
        recorded_trading(tmp_path)
