"""A stream whose connections are cut, whose books break, whose database goes away, and that is killed: nothing is lost.

A short outage in every test run; half a minute of it with `make campaign`.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest
from psycopg.conninfo import conninfo_to_dict

from tapehouse.sandbox import Asked, Fault, Sandbox, recorded_trading
from tapehouse.store.connection import connect
from tapehouse.timeframe import from_ms
from tests.query.relay import Relay
from tests.stream.conftest import DEPTH, SYMBOLS, Session, book_seconds, stored_books, stored_trades

IS_FULL: Final = os.environ.get("TAPEHOUSE_CAMPAIGN") == "full"
SPEED: Final = 20 if IS_FULL else 40
OUTAGE_S: Final = 30 if IS_FULL else 3
# In seconds of the session: what goes wrong with the first stream, when that is killed, and with the second.
CUT_AT: Final = (20, 40, 60, 400, 480)
SKIPPED_AT: Final = (30, 50, 440)
KILLED_AT: Final = 80
BACK_AT: Final = 120
AWAY_AT: Final = 350


class Clock:
    """The exchange's clock, which can be stopped while a process starts."""

    def __init__(self, start_ms: int) -> None:
        self._ms, self._since_s = float(start_ms), None

    def __call__(self) -> int:
        return int(self._ms if self._since_s is None else self._ms + 1000 * SPEED * (time.monotonic() - self._since_s))

    def go_on(self) -> None:
        self._since_s = time.monotonic()

    def stop(self) -> None:
        self._ms, self._since_s = float(self()), None

    def wait_until(self, time_ms: float) -> None:
        time.sleep(max(0.0, (time_ms - self()) / 1000 / SPEED))


@dataclass
class Stream:
    """`tapehouse stream` in a process of its own."""

    process: subprocess.Popen[str]
    heartbeat: Path

    @property
    def told(self) -> dict[str, Any]:
        """What its heartbeat says, nothing before the first."""
        return json.loads(self.heartbeat.read_text()) if self.heartbeat.exists() else {}

    def wait_until(self, holds: Callable[[], bool], *, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline, self.told
            time.sleep(0.1)


def start(url: str, exchange_url: str, folder: Path, name: str) -> Stream:
    heartbeat = folder / f"{name}.json"
    command = [
        *(sys.executable, "-m", "tapehouse", "stream", "--json", "--exchange", "binance", "--url", url),
        *("--symbol", ",".join(SYMBOLS), "--dataset", "trades,order-books", "--depth", str(DEPTH)),
        *("--exchange-url", exchange_url, "--flush-every", "1s", "--most-waiting", "5000"),
        *("--spill", str(folder / "spill"), "--heartbeat", str(heartbeat)),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return Stream(process, heartbeat)


def faults(first_ms: int) -> list[Fault]:
    """What goes wrong with the exchange: connections are cut, and changes to books left out."""
    streams = ("btcusdt@aggTrade", "btcusdt@depth@100ms", "ethusdt@aggTrade")
    cuts = [
        Fault("ws_drop", path=streams[number % 3], start_ms=first_ms + 1000 * at, count=1)
        for number, at in enumerate(CUT_AT)
    ]
    skips = [Fault("ws_gap", path="@depth@100ms", start_ms=first_ms + 1000 * at, count=1) for at in SKIPPED_AT]
    return cuts + skips


@pytest.mark.campaign
@pytest.mark.timeout(600)
def test_a_stream_that_is_hit_by_everything_ends_with_all_of_the_session(
    server_url: str, schema_url: str, recorded_folder: Path, sessions: dict[str, Session], tmp_path: Path
):
    first_ms = min(session.trades[0][1] for session in sessions.values()) - 5_000
    last_ms = max(session.trades[-1][1] for session in sessions.values())
    clock = Clock(first_ms)
    with Sandbox(recorded_trading(recorded_folder), clock_ms=clock) as sandbox, Relay(server_url) as relay:
        url = f"{relay.url}&options={quote(str(conninfo_to_dict(schema_url)['options']))}"
        for fault in faults(first_ms):
            sandbox.faults.add(fault)

        def start_stream(name: str) -> Stream:
            stream = start(url, sandbox.url, tmp_path, name)
            before = len(connections(sandbox))
            stream.wait_until(lambda: len(connections(sandbox)) >= before + 2)
            time.sleep(1.0)  # until what it has connected to is subscribed to
            clock.go_on()
            return stream

        killed = start_stream("killed")
        clock.wait_until(first_ms + 1000 * KILLED_AT)
        killed.process.kill()
        killed.process.communicate()
        clock.wait_until(first_ms + 1000 * BACK_AT)
        clock.stop()

        stream = start_stream("stream")
        clock.wait_until(first_ms + 1000 * AWAY_AT)
        relay.go_away()
        time.sleep(OUTAGE_S)
        relay.come_back()
        clock.wait_until(last_ms + 1000 * SPEED)
        stream.wait_until(lambda: stream.told["waiting"] + stream.told["spilled"] < 10)
        stream.process.send_signal(signal.SIGTERM)
        said, complained = stream.process.communicate(timeout=60)
        assert stream.process.returncode == 0, complained
        done = json.loads(said)
        repair(url, sandbox.url, first_ms, last_ms)
        struck = [fault["struck"] for fault in sandbox.faults.as_json()]

    assert (done["rejected"], done["waiting"], done["spilled"]) == (0, 0, 0)
    assert done["retried"] > 0
    assert struck == [1] * (len(CUT_AT) + len(SKIPPED_AT))
    for symbol, session in sessions.items():
        assert stored_trades(schema_url, symbol) == session.trades
        books = stored_books(schema_url, symbol, sessions[symbol])
        assert books == session.books(books.keys())
        sampled, changed = book_seconds(schema_url, symbol, session)
        assert sampled == changed
        assert len(sampled) > 30
    assert list((tmp_path / "spill").iterdir()) == []
    with connect(schema_url) as connection:
        gaps = connection.execute(
            "select tstzmultirange(tstzrange(%s, %s)) - covered from coverage join series using (series_id) "
            "where dataset = 'trade'",
            (from_ms(session_start(sessions)), from_ms(last_ms)),
        ).fetchall()
        assert [len(missing) for (missing,) in gaps] == [0, 0]


def connections(sandbox: Sandbox) -> list[Asked]:
    return [one for one in sandbox.requests if one.status == 101]


def session_start(sessions: dict[str, Session]) -> int:
    return max(session.trades[0][1] for session in sessions.values())


def repair(url: str, exchange_url: str, first_ms: int, last_ms: int) -> None:
    """What was missed and could not be fetched at once is fetched by the next ingest."""
    since, until = from_ms(first_ms), from_ms(last_ms) + timedelta(milliseconds=1)
    command = [
        *(sys.executable, "-m", "tapehouse", "ingest", "trades", "--exchange", "binance", "--url", url),
        *("--symbol", ",".join(SYMBOLS), "--exchange-url", exchange_url),
        *("--since", since.isoformat(), "--until", until.isoformat()),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
