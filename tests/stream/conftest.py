"""Fixtures of the streams' tests: the recorded session served over WebSocket, and what it holds, read by hand."""

import gzip
import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from tapehouse.store.connection import connect
from tests.archive.conftest import own_schema

RECORDED: Final = Path(__file__).parents[3] / "shared" / "data"
Levels = list[tuple[float, float]]

SYMBOLS: Final = {"BTC/USDT": "btcusdt", "ETH/USDT": "ethusdt"}
DEPTH: Final = 20


@dataclass
class Session:
    """What was recorded of a market: trades (id, ms, price, amount, side), its book once, and all changes to it."""

    trades: list[tuple[str, int, float, float, str]] = field(default_factory=list[tuple[str, int, float, float, str]])
    snapshot: dict[str, Any] = field(default_factory=dict[str, Any])
    updates: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def books(self, nonces: Collection[int]) -> dict[int, tuple[int, Levels, Levels]]:
        """By the number of its last update: when the book was so, in ms, and the best levels of its sides."""
        bids, asks = _levels(self.snapshot["bids"]), _levels(self.snapshot["asks"])
        updated: int = self.snapshot["lastUpdateId"]
        books: dict[int, tuple[int, Levels, Levels]] = {}
        for update in self.updates:
            if update["u"] <= updated:
                continue
            updated = update["u"]
            for side, changes in ((bids, update["b"]), (asks, update["a"])):
                for price, amount in _levels(changes).items():
                    side[price] = amount
                    if not amount:
                        del side[price]
            if updated in nonces:
                books[updated] = update["E"], sorted(bids.items(), reverse=True)[:DEPTH], sorted(asks.items())[:DEPTH]
        return books


@pytest.fixture(scope="module")
def schema_url(server_url: str) -> Iterator[str]:
    """A migrated schema of the module's own: the session's markets are those of all its files."""
    with own_schema(server_url) as url:
        yield url


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
    session = Session()
    for message in _messages(folder, name):
        data = message.get("data", message)
        if data.get("e") == "trade":
            side = "sell" if data["m"] else "buy"
            session.trades.append((str(data["t"]), data["T"], float(data["p"]), float(data["q"]), side))
        elif "lastUpdateId" in data:
            session.snapshot = data
        elif data.get("e") == "depthUpdate":
            session.updates.append(data)
    return session


def _messages(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    for path in sorted((folder / "l2_trades" / "binance_spot").glob(f"{name}_*.gz")):
        with gzip.open(path, "rt") as lines:
            for line in lines:
                yield json.loads(line.partition(" ")[2])


def _levels(levels: list[list[str]]) -> dict[float, float]:
    return {float(price): float(amount) for price, amount, *_ in levels}


def stored_trades(url: str, symbol: str) -> list[tuple[str, int, float, float, str]]:
    """The stored trades as a session has them."""
    with connect(url) as connection:
        return connection.execute(
            "select trade_id, (extract(epoch from time) * 1000)::bigint, price, amount, side from trade_view "
            "where exchange = 'binance' and symbol = %s order by trade_id::bigint",
            (symbol,),
        ).fetchall()


def book_seconds(url: str, symbol: str, session: Session) -> tuple[set[int], set[int]]:
    """Of what counts as sampled, the seconds that have a stored snapshot, and those in which the book changed."""
    with connect(url) as connection:
        stored = connection.execute(
            "select floor(extract(epoch from time))::bigint from order_book join instrument using (instrument_id) "
            "where exchange = 'binance' and symbol = %s",
            (symbol,),
        ).fetchall()
        covered = connection.execute(
            "select extract(epoch from lower(r))::bigint, extract(epoch from upper(r))::bigint "
            "from coverage join series using (series_id) join instrument using (instrument_id) "
            "cross join unnest(covered) r where exchange = 'binance' and symbol = %s and dataset = 'order_book'",
            (symbol,),
        ).fetchall()
    counted = {second for start, end in covered for second in range(start, end)}
    changed = {update["E"] // 1000 for update in session.updates if update["u"] > session.snapshot["lastUpdateId"]}
    return counted & {second for (second,) in stored}, counted & changed


def stored_books(url: str, symbol: str, session: Session) -> dict[int, tuple[int, Levels, Levels]]:
    """The stored snapshots as a session has them."""
    with connect(url) as connection:
        rows = connection.execute(
            "select nonce, (extract(epoch from time) * 1000)::bigint, price_decimals, amount_decimals, "
            "bid_price, bid_amount, ask_price, ask_amount "
            "from order_book join instrument using (instrument_id) "
            "where exchange = 'binance' and symbol = %s order by time",
            (symbol,),
        ).fetchall()

    def levels(prices: list[float], price_decimals: int, amounts: list[float], amount_decimals: int) -> Levels:
        units = 10.0**price_decimals, 10.0**amount_decimals
        return [(price / units[0], amount / units[1]) for price, amount in zip(prices, amounts, strict=True)]

    # The book that the recording begins with is of no recorded moment.
    return {
        nonce: (time_ms, levels(bids, tick, bid_amounts, lot), levels(asks, tick, ask_amounts, lot))
        for nonce, time_ms, tick, lot, bids, bid_amounts, asks, ask_amounts in rows
        if nonce != session.snapshot["lastUpdateId"]
    }
