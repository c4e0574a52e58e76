"""The scripts in docs/examples and the Python in the README run as they stand."""

import os
import re
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest

from tapehouse.store.features import refresh_features
from tests.query.conftest import COLUMNS, Tape, random_bars, random_books, random_trades
from tests.query.moments import write_bars

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
# All that each says.
SAID = {
    "live.py": r"(.+\n)+indicators: ema_20, .+\n([\d:]{8} (buy|sell|wait): price \d+\.\d+, spread 0\.\d\d\n){2}",
    "backtest.py": r"\d+ bars, \d+ orders: [+-]\d+\.\d{3}%; holding: [+-]\d+\.\d{3}%\n",
    "label.py": r"\d+ moments: \d+ up, \d+ down, \d+ flat\nlabels\.npz: .*, order_book \(\d+, 20, 4\), .*\n",
    "train.py": r"fitted 14 weights to \d+ moments\nof \d+ later ones, -?\d+\.\d% of the variance is explained\n",
    "provider.py": r"BTC/USDT at [\d:]{5}\nBTC/USDT at [\d:]{5}: \d+\.\d+\n\{'exchange': .*\}\n",
}
OPTIONS = {"live.py": ["--rounds", "2", "--every", "0.1"], "provider.py": []}


@pytest.fixture
def told(tape: Tape) -> Tape:
    """A market with three hours of candles, and ticks of the last of them."""
    now = datetime.now(UTC)
    minute = now.replace(second=0, microsecond=0)
    bars = random_bars(minute - timedelta(hours=3), 180)
    # The price has to go somewhere.
    bars[COLUMNS[:4]] = bars[COLUMNS[:4]].add((40_000 * np.sin(np.arange(180) / 9)).round(), axis=0)
    write_bars(tape, bars)
    ticks = minute - timedelta(minutes=10)
    tape.write_trades(random_trades(ticks, 500, span=now - ticks), (ticks, now))
    tape.write_books(random_books([ticks + timedelta(seconds=5 * number) for number in range(120)]), (ticks, now))
    refresh_features(tape.connection)
    return tape


def run(*command: str | Path, folder: Path, url: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TAPEHOUSE_DATABASE_URL": url, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-W", "error", *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@contextmanager
def being_traded(tape: Tape) -> Generator[None]:
    """A market in which something is traded now and then, as an ingest writes it."""
    is_over = Event()

    def trade() -> None:
        written_until = datetime.now(UTC)
        while not is_over.wait(0.2):
            now = datetime.now(UTC)
            trades = random_trades(now, 1, span=timedelta(milliseconds=1))
            # As large as the time, so that none is there twice.
            trades["trade_id"] = int(1000 * now.timestamp())
            tape.write_trades(trades, (written_until, now + timedelta(milliseconds=1)))
            written_until = now

    trader = Thread(target=trade)
    trader.start()
    try:
        yield
    finally:
        is_over.set()
        trader.join()


def test_every_example_is_tried():
    assert {path.name for path in EXAMPLES.glob("*.py")} == SAID.keys()


@pytest.mark.parametrize("name", SAID)
def test_it_runs(name: str, told: Tape, quiet_url: str, tmp_path: Path):
    options = OPTIONS.get(name, ["--hours", "2"])
    # Its address is not that of the environment.
    where = ["--url", quiet_url, "--exchange", told.exchange, "--symbol", told.symbol]
    done = run(EXAMPLES / name, *where, *options, folder=tmp_path, url="postgresql://nowhere.invalid")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(SAID[name], done.stdout), done.stdout


def test_labels_lie_beside_what_was_known_before(told: Tape, quiet_url: str, tmp_path: Path):
    done = run(EXAMPLES / "label.py", "--exchange", told.exchange, "--hours", "2", folder=tmp_path, url=quiet_url)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "labels.npz") as arrays:
        closes, labels = arrays["ohlcv_1m"][:, -1, 3], arrays["label"]
        expected = closes[5:] / closes[:-5] - 1
    np.testing.assert_array_equal(labels[:-5], np.sign(expected) * (np.abs(expected) > 0.0005))
    assert len(set(labels.tolist())) == 3


@pytest.mark.parametrize("name", ["backtest.py", "label.py", "train.py"])
def test_without_candles_it_says_so(name: str, told: Tape, quiet_url: str, tmp_path: Path):
    done = run(EXAMPLES / name, "--exchange", told.exchange, "--hours", "0.001", folder=tmp_path, url=quiet_url)
    assert done.returncode == 1
    assert done.stderr == "Too few candles of 1m in the last 0.001 hours.\n"


def test_the_python_of_the_readme_runs(told: Tape, quiet_url: str, tmp_path: Path):
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    code = "\n".join(blocks).replace('"binance"', f'"{told.exchange}"')
    with being_traded(told):
        done = run("-c", code, folder=tmp_path, url=quiet_url)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(blocks) >= 3
    assert "get_inference_data" in code
