"""What a person sees while series are fetched, told by a clock of the test's own."""

import io
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from tapehouse.cli.progress import Bars, Lines
from tapehouse.ingest import CandleRequest, IngestPlan, IngestResult, Outcome
from tapehouse.ingest.progress import Tally
from tapehouse.timeframe import timeframe

_DAY: Final = datetime(2025, 5, 1, tzinfo=UTC)
_REQUEST: Final = CandleRequest("BTC/USDT", timeframe("1m"), _DAY, _DAY + timedelta(days=1))


class _Clock:
    now_s = 50.0

    def __call__(self) -> float:
        return self.now_s


def _fetched(outcome: Outcome, minutes: int) -> Outcome:
    outcome.plan = IngestPlan((_DAY, _DAY + timedelta(days=1)), ((_DAY, _DAY + timedelta(days=1)),))
    outcome.result = IngestResult(fetched=minutes, seconds=60.0 * minutes, reached=_DAY + timedelta(minutes=minutes))
    return outcome


def test_lines_come_every_ten_seconds_and_at_the_end_of_a_series(capsys: pytest.CaptureFixture[str]) -> None:
    clock, outcome = _Clock(), Outcome("binance", _REQUEST)
    lines = Lines(Tally({"binance": [_REQUEST]}, clock=clock), clock=clock)
    lines.started(outcome)

    said: list[list[str]] = []
    for at_s, minutes in ((59.0, 90), (60.0, 120), (65.0, 180), (70.0, 240)):
        clock.now_s = at_s
        lines.progressed(_fetched(outcome, minutes))
        said.append(capsys.readouterr().err.splitlines())
    outcome.seconds = 20.04
    lines.ended(outcome)

    assert said == [
        [],
        ["binance 8%: 120 rows, 12 a second, 2025-05-01 02:00 UTC reached, 1m 50s left"],
        [],
        ["binance 17%: 240 rows, 12 a second, 2025-05-01 04:00 UTC reached, 1m 40s left"],
    ]
    assert capsys.readouterr().err == "binance BTC/USDT 1m done: 240 rows in 20.0 s.\n"


def test_bars_are_of_each_exchange_and_of_all(capsys: pytest.CaptureFixture[str]) -> None:
    clock = _Clock()
    first, second = Outcome("binance", _REQUEST), Outcome("kraken", _REQUEST)
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=None), TextColumn("{task.fields[counts]}"))
    written = io.StringIO()
    console = Console(file=written, width=100, force_terminal=True)
    with Progress(*columns, console=console, expand=True, auto_refresh=False) as shown:
        bars = Bars(Tally({"binance": [_REQUEST], "kraken": [_REQUEST]}, clock=clock), shown)
        bars.started(first)
        bars.started(second)
        clock.now_s += 10
        bars.progressed(_fetched(first, 360))
        bars.progressed(_fetched(second, 144))
        second.is_ended, second.error = True, ValueError("why")
        bars.ended(second)
        tasks = {task.description: task for task in shown.tasks}
        seen = console.render_lines(shown.get_renderable())

    assert {name: round(task.completed, 3) for name, task in tasks.items()} == {
        "binance": 0.25,
        "kraken": 1.0,
        # 504 of the 1,584 that there are, now that the rest of one is given up.
        "total": 0.318,
    }
    assert tasks["binance"].fields["counts"].split() == ["360", "rows", "36/s", "2025-05-01", "06:00", "30s", "left"]
    assert tasks["total"].fields["counts"].split() == ["504", "rows", "50/s", "2025-05-01", "02:24", "30s", "left"]
    assert len(seen) == 3
    assert "kraken BTC/USDT 1m failed." in written.getvalue()
    assert capsys.readouterr() == ("", "")
