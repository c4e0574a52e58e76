"""Streams that are captured, and the captures replayed: what is stored then is what was stored live."""

import asyncio
import gzip
import json
import time
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any, Final, LiteralString

import pytest
from click.testing import CliRunner
from psycopg import sql

from tapehouse.cli import main
from tapehouse.sandbox import Fault, ReplayClock, Sandbox, generated_markets
from tapehouse.store.connection import connect
from tapehouse.store.instruments import Dataset
from tapehouse.stream import StreamRequest, StreamStatistics, stream
from tapehouse.stream.beside import until_first
from tapehouse.stream.capture import Capture
from tapehouse.stream.captured import captured_streams
from tapehouse.stream.replay import Replayed, replay

# Of other markets than other tests stream.
MARKETS: Final = {"binance": "SOL/USDT", "kraken": "SOL/USD"}
DATASETS: Final[dict[str, list[Dataset]]] = {
    "binance": ["trade", "order_book", "ohlcv"],
    "kraken": ["trade", "order_book"],
}
# In seconds of the exchange's clock: what happens when.
BURSTS_AT, CUT_AT, BROKEN_AT, NEXT_MINUTE_AT, LASTS_S = (1, 5), 2, 3, 4, 7
BURST: Final = 150
TABLES: Final[dict[str, LiteralString]] = {
    "trade": "select time, trade_id, price, amount, side from trade",
    "ohlcv": "select time, timeframe_s, open, high, low, close, volume from ohlcv",
    "order_book": "select time, nonce, bid_price, bid_amount, ask_price, ask_amount from order_book",
}

# What is known of a market, and what it is kept by, in an order in which it can be deleted.
FORGOTTEN: Final = {
    **dict.fromkeys((*TABLES, "order_book_1s", "imbalance"), "instrument_id"),
    **dict.fromkeys(("coverage", "quarantine"), "series_id"),
    **dict.fromkeys(("series", "instrument"), "instrument_id"),
}


class Clock(ReplayClock):
    """The exchange's clock, which begins before a minute is over, once all is subscribed to; it can be stopped."""

    def __init__(self) -> None:
        now_ms = time.time_ns() // 1_000_000
        super().__init__(now_ms - now_ms % 60_000 - NEXT_MINUTE_AT * 1000, waits_for=sum(map(len, DATASETS.values())))
        self._stopped_ms: int | None = None
        self._begin_ms = self()

    def __call__(self) -> int:
        return super().__call__() if self._stopped_ms is None else self._stopped_ms

    def stop(self) -> None:
        self._stopped_ms = self()

    async def until(self, seconds: float) -> None:
        """Return once it has run for so long."""
        while self() < self._begin_ms + 1000 * seconds:  # noqa: ASYNC110 -- another thread's
            await asyncio.sleep(0.05)


@dataclass
class Streamed:
    """What a stream has left: the rows of each table, what is covered of each dataset, and where it came from."""

    rows: dict[str, list[tuple[Any, ...]]]
    covered: dict[str, str]
    from_sandbox: bool
    statistics: StreamStatistics = field(default_factory=StreamStatistics)
    replayed: Replayed = field(default_factory=Replayed)


def stored(url: str, exchange: str) -> Streamed:
    with connect(url) as connection:
        instrument_id, from_sandbox = connection.execute(
            "select instrument_id, from_sandbox from instrument where exchange = %s and symbol = %s",
            (exchange, MARKETS[exchange]),
        ).fetchone() or (0, False)
        rows = {
            table: connection.execute(f"{select} where instrument_id = %s order by 1, 2", (instrument_id,)).fetchall()
            for table, select in TABLES.items()
        }
        covered = connection.execute(
            "select dataset, covered::text from coverage join series using (series_id) where instrument_id = %s",
            (instrument_id,),
        ).fetchall()
    return Streamed(rows, dict(covered), from_sandbox)


def forget(url: str, exchange: str) -> None:
    """As if nothing had ever been stored of the market."""
    with connect(url) as connection:
        row = connection.execute(
            "select instrument_id from instrument where exchange = %s and symbol = %s", (exchange, MARKETS[exchange])
        ).fetchone()
        for table, key in FORGOTTEN.items():
            of_series = sql.SQL("series_id in (select series_id from series where instrument_id = %s)")
            which = of_series if key == "series_id" else sql.SQL("instrument_id = %s")
            connection.execute(sql.SQL("delete from {} where {}").format(sql.Identifier(table), which), row)


@pytest.fixture(scope="module")
def capture_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("capture")


@pytest.fixture(scope="module")
def live(store_url: str, capture_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Streamed]:
    """What streams of both exchanges stored while they were captured, a connection was cut and a book broke."""
    clock, spill = Clock(), tmp_path_factory.mktemp("spill")
    statistics = {exchange: StreamStatistics() for exchange in MARKETS}

    async def stop() -> None:
        await clock.until(LASTS_S)
        clock.stop()
        await asyncio.sleep(1.0)
        while any(one.holes > one.filled for one in statistics.values()):  # noqa: ASYNC110 -- nobody tells
            await asyncio.sleep(0.1)

    async def capture(exchange: str, url: str) -> None:
        request = StreamRequest(exchange, [MARKETS[exchange]], DATASETS[exchange], every=timedelta(milliseconds=500))
        with closing(Capture(capture_folder / exchange, request, base_url=url)) as wire:
            streaming = stream(
                request,
                database_url=store_url,
                spill_folder=spill,
                base_url=url,
                statistics=statistics[exchange],
                wire=wire,
            )
            await until_first(streaming, wire.watch(), stop())

    async def run(sandbox: Sandbox) -> None:
        async with asyncio.TaskGroup() as group:
            for exchange in MARKETS:
                group.create_task(capture(exchange, sandbox.url))
            for at, (exchange, symbol) in product(BURSTS_AT, MARKETS.items()):
                await clock.until(at)
                await asyncio.to_thread(sandbox.burst, exchange, symbol, trades=BURST)

    with Sandbox(generated_markets(seed=7), clock_ms=clock) as sandbox:
        begun_ms = clock()
        sandbox.faults.add(Fault("ws_drop", symbol="SOL/USDT", start_ms=begun_ms + 1000 * CUT_AT, count=1))
        sandbox.faults.add(Fault("ws_checksum", symbol="SOL/USD", start_ms=begun_ms + 1000 * BROKEN_AT, count=1))
        asyncio.run(run(sandbox))
    found = {exchange: stored(store_url, exchange) for exchange in MARKETS}
    for exchange, one in found.items():
        one.statistics = statistics[exchange]
    return found


@pytest.fixture(scope="module")
def again(
    store_url: str, live: dict[str, Streamed], capture_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Streamed]:
    """What the replays of the captures stored, where nothing of it was."""
    statistics = {exchange: StreamStatistics() for exchange in live}
    replayed = {exchange: Replayed() for exchange in live}

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            for exchange in live:
                forget(store_url, exchange)
                group.create_task(
                    replay(
                        capture_folder / exchange,
                        database_url=store_url,
                        spill_folder=tmp_path_factory.mktemp("spill"),
                        statistics=statistics[exchange],
                        replayed=replayed[exchange],
                    )
                )

    asyncio.run(run())
    found = {exchange: stored(store_url, exchange) for exchange in live}
    for exchange, one in found.items():
        one.statistics, one.replayed = statistics[exchange], replayed[exchange]
    return found


@pytest.mark.parametrize("exchange", MARKETS)
def test_a_replay_stores_what_was_stored_live(
    live: dict[str, Streamed], again: dict[str, Streamed], capture_folder: Path, exchange: str
):
    before, after = live[exchange], again[exchange]

    opened = [event for event in captured_streams(capture_folder / exchange)[0].events() if event.kind == "opened"]
    assert len(opened) > len({event.address for event in opened})
    assert len(before.rows["trade"]) >= BURST * len(BURSTS_AT)
    assert len(before.rows["order_book"]) > LASTS_S / 2
    assert bool(before.rows["ohlcv"]) == ("ohlcv" in DATASETS[exchange])
    assert after.rows == before.rows
    assert after.covered == before.covered
    assert (after.replayed.unheard, after.replayed.unanswered, after.statistics.missed) == (0, set(), 0)


@pytest.mark.parametrize("exchange", MARKETS)
def test_what_came_from_the_sandbox_is_known_to_after_a_replay(again: dict[str, Streamed], exchange: str):
    assert again[exchange].from_sandbox


def test_a_replay_tells_what_was_not_captured(
    store_url: str, again: dict[str, Streamed], capture_folder: Path, tmp_path: Path
):
    """The command, over a capture without the answers that the exchange gave about trades."""
    del again
    forget(store_url, "binance")
    (whole,) = (capture_folder / "binance").iterdir()
    with gzip.open(whole, "rt") as lines, gzip.open(tmp_path / whole.name, "wt") as kept:
        kept.writelines(line for line in lines if "/aggTrades?" not in line[:200])

    done = CliRunner().invoke(main, ["replay", str(tmp_path), "--json", "--speed", "5", "--url", store_url])

    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["missed"] == told["holes"] > 0
    assert told["unanswered"]
    assert all("/api/v3/aggTrades?" in address for address in told["unanswered"])
    assert f"{len(told['unanswered'])} requests were not captured" in done.stderr
    # What was streamed is stored all the same.
    assert told["received"] == told["inserted"] > BURST


def test_a_capture_that_was_cut_off_before_anything_came_is_replayed_to_its_end(
    store_url: str, again: dict[str, Streamed], tmp_path: Path
):
    del again
    with closing(Capture(tmp_path, StreamRequest("binance", ["SOL/USDT"]))):
        pass

    done = CliRunner().invoke(main, ["replay", str(tmp_path), "--json", "--url", store_url])

    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["streams"], told["messages"], told["received"]) == (1, 0, 0)
    assert told["unanswered"] == ["GET api.binance.com/api/v3/time"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "holds no capture: name the folder that was given as --capture"),
        (("--speed", "0.5"), "give --speed 1 or more"),
        (("--speed", "nan"), "give --speed 1 or more"),
    ],
)
def test_a_replay_that_makes_no_sense_is_refused(store_url: str, tmp_path: Path, arguments: tuple[str, ...], said: str):
    refused = CliRunner().invoke(main, ["replay", str(tmp_path), "--url", store_url, *arguments])

    assert refused.exit_code == 2
    assert said in refused.stderr
