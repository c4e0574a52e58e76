"""Recorded WebSocket sessions: their trades and replayed books come out of validation as the exchanges sent them."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tapehouse.book import BookBatch, BookSample
from tapehouse.candle import Float64Array
from tapehouse.timeframe import from_ms, to_us
from tapehouse.validate import split_books, split_trades
from tests.recorded import sessions
from tests.recorded.ladder import Ladder, Level
from tests.recorded.sessions import BestLevels, BookChange, Event, SessionTrade, events, rest_answers

DEPTH = 20
MINUTE = timedelta(minutes=1)
MIDNIGHT = datetime(2024, 8, 9, tzinfo=UTC)
Read = Callable[[Any], Iterator[Event]]
Pairs = list[tuple[float, float]]
Changes = list[tuple[datetime, BookChange]]
States = dict[int, tuple[int, Pairs, Pairs]]  # by time in microseconds: nonce, bids, asks


def received(folder: Path, name: str, read: Read) -> tuple[dict[str, list[SessionTrade]], dict[str, Changes]]:
    """The trades and the changes of books of one session, by market."""
    trades: dict[str, list[SessionTrade]] = defaultdict(list)
    changes: dict[str, Changes] = defaultdict(list)
    for received_at, event in events(folder / "ws_sessions" / f"{name}.txt.gz", read):
        if isinstance(event, SessionTrade):
            trades[event.market].append(event)
        elif isinstance(event, BookChange):
            changes[event.market].append((received_at, event))
    return trades, changes


@cache
def recorded_spot(folder: Path, symbol: str) -> list[tuple[datetime, Event]]:
    """Both files of one market of the Binance spot session."""
    files = [folder / "l2_trades" / "binance_spot" / f"{symbol}_{day}.gz" for day in ("20240808", "20240809")]
    return [event for file in files for event in events(file, sessions.binance)]


def continued(snapshot: BookChange, received_at: datetime, changes: Changes) -> Changes:
    """The snapshot and the updates that go on from it.

    https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams#how-to-manage-a-local-order-book-correctly
    """
    return [(received_at, snapshot), *((at, one) for at, one in changes if (one.nonce or 0) > (snapshot.nonce or 0))]


def pairs(received: Sequence[Level]) -> Pairs:
    return [(float(level[0]), float(level[1])) for level in received]


def assert_books_come_out_equal(changes: Changes, ladder: Ladder) -> States:
    """Replay, sample the book after every change, and compare; gives the states that came out."""
    states: States = {}
    samples: list[BookSample] = []
    for received_at, change in changes:
        if change.is_snapshot:
            ladder.clear()
        ladder.put(change.bids, change.asks)
        bids, asks = ladder.bids(DEPTH), ladder.asks(DEPTH)
        samples.append(BookSample(bids, asks, change.time_ms, change.nonce, received_at, received_at, None))
        time_us = to_us(received_at) if change.time_ms is None else change.time_ms * 1000
        states[time_us] = (-1 if change.nonce is None else change.nonce, pairs(bids), pairs(asks))
    outcome = split_books(samples, depth=DEPTH)
    assert outcome.rejected == ()
    assert states_of(outcome.good) == states
    return states


def levels(price: Float64Array, amount: Float64Array) -> Iterator[tuple[float, float]]:
    yield from zip(price.tolist(), amount.tolist(), strict=True)


def states_of(good: BookBatch) -> States:
    bids, asks = levels(good.bid_price, good.bid_amount), levels(good.ask_price, good.ask_amount)
    heads = zip(
        good.time_us.tolist(), good.nonce.tolist(), good.bid_count.tolist(), good.ask_count.tolist(), strict=True
    )
    states = {
        time_us: (nonce, [next(bids) for _ in range(bid_count)], [next(asks) for _ in range(ask_count)])
        for time_us, nonce, bid_count, ask_count in heads
    }
    assert next(bids, None) is next(asks, None) is None
    return states


def assert_trades_come_out_equal(trades: Sequence[SessionTrade]) -> int:
    """Split what one market traded and compare; gives the number of trades kept."""
    rows = [(one.time_ms, one.trade_id, one.side, float(one.price), float(one.amount), one.raw) for one in trades]
    start, end = (min(one.time_ms for one in trades), max(one.time_ms for one in trades) + 1)
    outcome = split_trades(rows, start=from_ms(start), end=from_ms(end))
    assert outcome.rejected == ()
    assert outcome.covered == [(from_ms(start), from_ms(end))]
    good = outcome.good
    ids = [text or str(number) for number, text in zip(good.trade_id.tolist(), good.id_text.tolist(), strict=True)]
    keys = zip((good.time_us // 1000).tolist(), ids, strict=True)
    values = zip(good.side.tolist(), good.price.tolist(), good.amount.tolist(), strict=True)
    expected = {
        (one.time_ms, one.trade_id): ({"buy": 1, "sell": -1}[one.side], float(one.price), float(one.amount))
        for one in trades
    }
    assert dict(zip(keys, values, strict=True)) == expected
    return len(good)


@pytest.mark.parametrize(
    ("name", "read", "count"),
    [
        ("BINANCE.ws.1.0", sessions.binance, 2),
        ("OKX.ws.1.0", sessions.okx, 74),
        ("BYBIT.ws.25.0", sessions.bybit, 101),
        ("BYBIT.ws.26.0", sessions.bybit, 150),
        ("COINBASE.ws.28.0", sessions.coinbase, 107),
    ],
)
def test_trades_of_a_session_come_out_as_the_exchange_sent_them(recorded_data: Path, name: str, read: Read, count: int):
    trades, _ = received(recorded_data, name, read)
    assert sum(map(assert_trades_come_out_equal, trades.values())) == count


def test_trades_without_ids_are_rejected_by_that_name(recorded_data: Path):
    trades, _ = received(recorded_data, "KRAKEN.ws.48.0", sessions.kraken)
    assert sum(map(len, trades.values())) == 10
    for one in (one for market in trades.values() for one in market):
        row = (one.time_ms, one.trade_id, one.side, float(one.price), float(one.amount), one.raw)
        window = (from_ms(one.time_ms), from_ms(one.time_ms + 1))
        outcome = split_trades([row], start=window[0], end=window[1])
        assert [(reject.reasons, reject.time) for reject in outcome.rejected] == [(("id_missing",), window[0])]
        assert outcome.covered == []


@pytest.mark.parametrize(
    ("name", "read", "markets", "depth"),
    [
        ("OKX.ws.1.0", sessions.okx, 3, None),
        ("KRAKEN.ws.50.0", sessions.kraken, 10, 1000),
        ("BYBIT.ws.25.0", sessions.bybit, 8, None),
        ("BYBIT.ws.26.0", sessions.bybit, 2, None),
        ("COINBASE.ws.28.0", sessions.coinbase, 10, None),
    ],
)
def test_books_of_a_session_come_out_as_replayed(
    recorded_data: Path, name: str, read: Read, markets: int, depth: int | None
):
    _, changes = received(recorded_data, name, read)
    assert len(changes) == markets
    for of_market in changes.values():
        assert of_market[0][1].is_snapshot
        assert len(assert_books_come_out_equal(of_market, Ladder(depth))) > 1


@pytest.mark.parametrize(
    ("name", "read", "depth", "checksum", "count"),
    [
        ("OKX.ws.1.0", sessions.okx, None, Ladder.okx_checksum, 290),
        ("KRAKEN.ws.50.0", sessions.kraken, 1000, Ladder.kraken_checksum, 4269),
    ],
)
def test_the_replay_itself_has_the_exchanges_checksum_after_every_message(
    recorded_data: Path, name: str, read: Read, depth: int | None, checksum: Callable[[Ladder], int], count: int
):
    _, changes = received(recorded_data, name, read)
    checked = 0
    for of_market in changes.values():
        ladder = Ladder(depth)
        for _, change in of_market:
            ladder.put(change.bids, change.asks)
            if change.checksum is not None:
                assert checksum(ladder) == change.checksum
                checked += 1
    assert checked == count


def test_books_begun_by_a_snapshot_of_rest_come_out_as_replayed(recorded_data: Path):
    _, changes = received(recorded_data, "BINANCE.ws.1.0", sessions.binance)
    snapshots = rest_answers(recorded_data / "ws_sessions" / "BINANCE.http.0.0.txt.gz")
    assert len(snapshots) == len(changes) == 4
    for url, answer in snapshots:
        market = url.partition("symbol=")[2].partition("&")[0]
        (snapshot,) = sessions.binance(answer)
        assert isinstance(snapshot, BookChange)
        assert_books_come_out_equal(continued(snapshot, changes[market][0][0], changes[market]), Ladder())


@pytest.mark.parametrize(("symbol", "updates", "told"), [("btcusdt", 6493, 1072), ("ethusdt", 6468, 1056)])
def test_the_recorded_spot_book_comes_out_as_replayed_and_agrees_with_its_ticker(
    recorded_data: Path, symbol: str, updates: int, told: int
):
    recorded = recorded_spot(recorded_data, symbol)
    changes = [(at, event) for at, event in recorded if isinstance(event, BookChange)]
    ((at, snapshot),) = [(at, change) for at, change in changes if change.is_snapshot]
    going_on = continued(snapshot, at, [(at, change) for at, change in changes if not change.is_snapshot])
    states = {
        nonce: (bids[0], asks[0]) for nonce, bids, asks in assert_books_come_out_equal(going_on, Ladder()).values()
    }
    assert len(states) == updates + 1
    best = {
        event.nonce: tuple(pairs([event.bid, event.ask]))
        for _, event in recorded
        if isinstance(event, BestLevels) and event.nonce in states
    }
    assert len(best) == told
    assert {nonce: states[nonce] for nonce in best} == best


def test_a_snapshot_of_a_thousand_levels_a_side_comes_out_whole(recorded_data: Path):
    (snapshot,) = [
        event
        for _, event in recorded_spot(recorded_data, "btcusdt")
        if isinstance(event, BookChange) and event.is_snapshot
    ]
    sample = BookSample(snapshot.bids, snapshot.asks, None, snapshot.nonce, MIDNIGHT, MIDNIGHT, None)
    outcome = split_books([sample], depth=1000)
    assert (outcome.good.bid_count.tolist(), outcome.good.ask_count.tolist()) == ([1000], [1000])
    expected = (50093239218, pairs(snapshot.bids), pairs(snapshot.asks))
    assert states_of(outcome.good) == {to_us(MIDNIGHT): expected}
    assert outcome.rejected == ()


# The figures are those of an independent computation from the same files.
@pytest.mark.parametrize(
    ("symbol", "first_id", "count", "minute", "candle"),
    [
        (
            "btcusdt", 3_735_683_259, 19_904, MIDNIGHT - 2 * MINUTE,
            (61652.00, 61745.27, 61583.22, 61717.63, 77.14202, 3216),
        ),
        (
            "ethusdt", 1_520_538_925, 14_515, MIDNIGHT + MINUTE,
            (2679.40, 2679.40, 2673.60, 2677.41, 841.985, 2799),
        ),
    ],
)  # fmt: skip
def test_the_recorded_spot_trades_come_out_whole_and_in_order(
    recorded_data: Path, symbol: str, first_id: int, count: int, minute: datetime, candle: tuple[float, ...]
):
    trades = [event for _, event in recorded_spot(recorded_data, symbol) if isinstance(event, SessionTrade)]
    assert assert_trades_come_out_equal(trades) == count
    rows = [(one.time_ms, one.trade_id, one.side, float(one.price), float(one.amount), None) for one in trades]
    inside = [row for row in rows if minute <= from_ms(row[0]) < minute + MINUTE]
    good = split_trades(inside, start=minute, end=minute + MINUTE).good
    assert good.trade_id.tolist() == sorted(good.trade_id.tolist())
    o, h, low, c, volume, number = candle
    assert (good.price[0], good.price.max(), good.price.min(), good.price[-1], len(good)) == (o, h, low, c, number)
    assert round(good.amount.sum(), 8) == volume
    assert {int(one.trade_id or "") for one in trades} == set(range(first_id, first_id + count))
