"""Reading candles into a DataFrame, against other libraries that read the same rows into the same frame.

Each runs in a process of its own (`rival_process`), the quickest of its ways taken. ArcticDB has the rows in a folder
of this machine; it wants pandas 2, so it has an environment of its own.
"""

import json
import math
import os
import subprocess
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median
from typing import IO, Any, Final

import pandas as pd

from benchmarks.figure import Figure, Outcome, Skipped
from benchmarks.history import made_up_candles, write_candle_history
from benchmarks.recent import write_year
from benchmarks.rounds import percentile_s, take_rounds
from benchmarks.series import AMOUNT_DECIMALS, PRICE_DECIMALS, new_candle_series
from benchmarks.setting import Setting
from tapehouse import MarketData
from tapehouse.instrument import Instrument

_ENVIRONMENTS: Final = {
    "read_sql": ".venv-compare",
    "connectorx": ".venv-compare",
    "adbc": ".venv-compare",
    "arcticdb": ".venv-arcticdb",
}
_KEYS: Final = {
    "vs_read_sql": "read_sql",
    "vs_connectorx": "connectorx",
    "vs_adbc": "adbc",
    "vs_arcticdb_lmdb": "arcticdb",
}
_UNITS: Final = [10.0**PRICE_DECIMALS] * 4 + [10.0**AMOUNT_DECIMALS]
_HOUR: Final = timedelta(hours=1)
# Who connects anew each time takes some 100 ms for a call.
_MOST_CALLS: Final = 50


class _Missing(Exception):
    """A library is not there."""


@dataclass(frozen=True, slots=True)
class _Rival:
    """A library in a process of its own, and the way it reads; the frame that it gives has `rows`, closes of `sum`."""

    process: "subprocess.Popen[str]"
    way: str
    rows: int
    sum: float

    def median_s(self, calls: int) -> float:
        """The median of so many calls' seconds."""
        stdin, stdout = _pipes(self.process)
        stdin.write(f"{calls}\n")
        stdin.flush()
        return median(json.loads(stdout.readline()))


def _whole(setting: Setting, *, key: str, library: str) -> Outcome:
    """A million candles that are not compressed."""
    with setting.emptied_database() as connection:
        series = new_candle_series(connection)
        span = write_candle_history(connection, series, made_up_candles(setting.sizes.read_rows))
        connection.execute("vacuum analyze ohlcv")
        return _figure(setting, key, library, series.instrument, span[0], is_whole=True)


def _latest(setting: Setting, *, key: str, library: str) -> Outcome:
    """The last hour's candles of a year."""
    with setting.emptied_database() as connection:
        instrument = write_year(connection, setting.sizes)
        return _figure(setting, key, library, instrument, datetime.now(UTC) - _HOUR, is_whole=False)


BENCHMARKS: Final[dict[str, Callable[[Setting], Outcome]]] = {
    **{key: partial(_whole, key=key, library=library) for key, library in _KEYS.items()},
    **{f"latest_60_{key}": partial(_latest, key=f"latest_60_{key}", library=library) for key, library in _KEYS.items()},
}


def _figure(
    setting: Setting, key: str, library: str, instrument: Instrument, start: datetime, *, is_whole: bool
) -> Outcome:
    calls = 1 if is_whole else min(setting.sizes.calls, _MOST_CALLS)
    question = {
        "url": setting.url,
        "select": "select time, open, high, low, close, volume from ohlcv "
        f"where instrument_id = {instrument.instrument_id} and timeframe_s = 60",
        "units": _UNITS,
        "since": None if is_whole else start.isoformat(),
    }
    try:
        with _rival(setting, library, question) as rival, MarketData.connect(setting.url, cache_mb=0) as market:
            return _against(setting, key, rival, lambda: _read(market, instrument, start), calls)
    except _Missing as missing:
        return Skipped(key, f"{missing}: `make compare` installs what is compared with")


def _read(market: MarketData, instrument: Instrument, start: datetime) -> pd.DataFrame:
    return market.candles(instrument.exchange, instrument.symbol, "1m", start)


def _against(setting: Setting, key: str, rival: _Rival, read: Callable[[], pd.DataFrame], calls: int) -> Figure:
    frame = read()
    assert len(frame) == rival.rows
    assert math.isclose(frame["close"].sum(), rival.sum)
    rounds = take_rounds(
        setting.sizes.rounds,
        lambda: percentile_s(50, lambda _: read(), range(calls)),
        lambda: rival.median_s(calls),
    )
    return rounds.as_cost(key, "ms", scale=1000, baseline=rival.way, note=f"{len(frame):,} rows")


@contextmanager
def _rival(setting: Setting, library: str, question: dict[str, Any]) -> Generator[_Rival]:
    python = setting.environments / _ENVIRONMENTS[library] / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not python.exists():
        raise _Missing(f"no {python}")
    with subprocess.Popen(
        [python, "-m", "benchmarks.rival_process", library, json.dumps(question)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    ) as process:
        told = json.loads(_pipes(process)[1].readline())
        if "missing" in told:
            raise _Missing(told["missing"])
        yield _Rival(process, **told)


def _pipes(process: "subprocess.Popen[str]") -> tuple[IO[str], IO[str]]:
    assert process.stdin
    assert process.stdout
    return process.stdin, process.stdout
