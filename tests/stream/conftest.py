"""Fixtures of the streams' tests: the recorded session served over WebSocket, and what it holds, read by hand."""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

RECORDED: Final = Path(__file__).parents[3] / "shared" / "data"
SYMBOLS: Final = {"BTC/USDT": "btcusdt", "ETH/USDT": "ethusdt"}
DEPTH: Final = 20


@dataclass
class Session:
    """What was recorded of a market: trades (id, ms, price, amount, side), and the best levels after each update."""

    trades: list[tuple[str, int, float, float, str]] = field(default_factory=list[tuple[str, int, float, float, str]])
    books: dict[int, tuple[int, list[list[float]], list[list[float]]]] = field(
        default_factory=dict[int, tuple[int, list[list[float]], list[list[float]]]]
    )


@pytest.fixture(scope="session")
def recorded_folder() -> Path:
    """The folder of recorded market data."""
    if not RECORDED.is_dir():
        pytest.skip("needs the recorded market data in ../shared/data")
    return RECORDED


@pytest.fixture(scope="session")
def sessions(recorded_folder: Path) -> dict[str, Session]:
    """The recorded session of each symbol."""
    return {symbol: _session(recorded_folder, name) for symbol, name in SYMBOLS.items()}


def _session(folder: Path, name: str) -> Session:
    session, bids, asks, updated = Session(), dict[float, float](), dict[float, float](), 0
    for message in _messages(folder, name):
        data = message.get("data", message)
        if "lastUpdateId" in data:
            bids, asks, updated = _levels(data["bids"]), _levels(data["asks"]), data["lastUpdateId"]
        elif data.get("e") == "trade":
            side = "sell" if data["m"] else "buy"
            session.trades.append((str(data["t"]), data["T"], float(data["p"]), float(data["q"]), side))
        elif data.get("e") == "depthUpdate" and updated and data["u"] > updated:
            for side, changes in ((bids, data["b"]), (asks, data["a"])):
                side.update(_levels(changes))
                for price in [price for price, amount in side.items() if amount == 0]:
                    del side[price]
            updated = data["u"]
            best = [sorted(bids.items(), reverse=True)[:DEPTH], sorted(asks.items())[:DEPTH]]
            session.books[updated] = (data["E"], *([list(level) for level in levels] for levels in best))
    return session


def _messages(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    for path in sorted((folder / "l2_trades" / "binance_spot").glob(f"{name}_*.gz")):
        with gzip.open(path, "rt") as lines:
            for line in lines:
                yield json.loads(line.partition(" ")[2])


def _levels(levels: list[list[str]]) -> dict[float, float]:
    return {float(price): float(amount) for price, amount, *_ in levels}
