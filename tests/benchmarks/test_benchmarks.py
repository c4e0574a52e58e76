"""Each benchmark runs, on a database of its own and with little to do; what it finds is not judged."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from benchmarks.catalog import BARS, BENCHMARKS
from benchmarks.figure import Bar, Figure, Skipped
from benchmarks.report import Run, print_run, write_run
from benchmarks.rounds import take_rounds
from benchmarks.setting import Setting, Sizes
from tapehouse import embedded
from tapehouse.errors import InputError
from tapehouse.store.connection import connect

REPOSITORY = Path(__file__).parents[2]
RECORDINGS = REPOSITORY.parent / "shared" / "data"
SMALL = Sizes(
    rounds=1,
    write_rounds=1,
    written_rows=2000,
    batch_rows=1000,
    read_rows=3000,
    fetched_candles=2500,
    fetched_trading=timedelta(hours=5),
    history_candles=200,
    books=120,
    book_phases=1,
    calls=5,
    year_candles=3000,
    tick_seconds=700,
    scheduled_series=2,
    scheduled_deployments=1,
    streamed_s=3,
)


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    """A database of its own, since benchmarks empty the one they use."""
    with embedded.running(tmp_path_factory.mktemp("benchmarks")) as status:
        assert status.url is not None
        yield Setting(status.url, SMALL, shutil.which("psql"), RECORDINGS, REPOSITORY)


@pytest.mark.parametrize("key", BENCHMARKS)
def test_the_benchmark_runs(setting: Setting, key: str):
    outcome = BENCHMARKS[key](setting)
    if isinstance(outcome, Skipped):
        pytest.skip(outcome.reason)
    assert outcome.key == key
    assert outcome.measured > 0
    assert outcome.baseline > 0


def test_reading_is_measured_without_psql(setting: Setting):
    without = replace(setting, psql=None)
    outcome = BENCHMARKS["candles_1m_rows_vs_psql_copy"](without)
    assert isinstance(outcome, Figure)
    assert "libpq" in outcome.baseline_name


def test_a_benchmark_leaves_a_database_with_real_data_alone(setting: Setting):
    with setting.emptied_database():
        pass
    with connect(setting.url) as connection:
        connection.execute(
            """
            insert into instrument (exchange, symbol, base, quote, kind, amount_unit, price_decimals, amount_decimals,
                active, from_sandbox, raw)
            values ('kraken', 'BTC/USD', 'BTC', 'USD', 'spot', 'base', 1, 8, true, false, '{}')
            """
        )
        with pytest.raises(InputError, match="holds instruments of kraken"), setting.emptied_database():
            pass
        assert connection.execute("select count(*) from instrument").fetchone() == (1,)
        connection.execute("delete from instrument")


@pytest.mark.parametrize(
    "key", ["bytes_per_compressed_candle", "bytes_per_compressed_trade", "bytes_per_compressed_snapshot_20"]
)
def test_recordings_that_are_not_there_are_said_to_be(setting: Setting, tmp_path: Path, key: str):
    bare = replace(setting, recordings=tmp_path)
    outcome = BENCHMARKS[key](bare)
    assert isinstance(outcome, Skipped)
    assert str(tmp_path) in outcome.reason


@pytest.mark.parametrize("key", ["vs_adbc", "latest_60_vs_arcticdb_lmdb"])
def test_a_library_to_compare_with_that_is_not_there_is_said_to_be(setting: Setting, tmp_path: Path, key: str):
    outcome = BENCHMARKS[key](replace(setting, environments=tmp_path))
    assert isinstance(outcome, Skipped)
    assert str(tmp_path) in outcome.reason
    assert "make compare" in outcome.reason


def test_rounds_go_by_turns_and_the_first_does_not_count():
    order: list[str] = []
    costs = {"measured": iter([100.0, 2.0, 6.0, 8.0]), "baseline": iter([1.0, 4.0, 4.0, 2.0])}

    def measure(name: str) -> float:
        order.append(name)
        return next(costs[name])

    rounds = take_rounds(3, lambda: measure("measured"), lambda: measure("baseline"))
    assert order == ["baseline", "measured", "measured", "baseline"] * 2
    cost = rounds.as_cost("key", "ms", scale=1000, baseline="another")
    assert (cost.measured, cost.baseline, cost.ratio, cost.spread) == (6000.0, 4000.0, 1.5, (0.5, 4.0))
    rate = rounds.as_rate("key", "rows/s", 24, baseline="another")
    assert (rate.measured, rate.baseline, rate.spread) == (4.0, 6.0, (0.25, 2.0))


@pytest.mark.parametrize(
    ("bar", "is_met"),
    [
        (Bar(">=", 0.5), True),
        (Bar(">=", 0.6), False),
        (Bar("<=", 0.5), True),
        (Bar("<=", 0.4), False),
        (Bar("<=", 16.0, of="measured"), True),
        (Bar(">=", 16.0, of="measured"), False),
    ],
)
def test_a_bar_judges_the_ratio_or_what_was_measured(bar: Bar, is_met: bool):
    figure = Figure("key", 12.0, 24.0, "B", 0.5, (0.4, 0.6), "another")
    assert bar.is_met(figure) == is_met


def test_every_bar_is_for_a_benchmark():
    assert set(BARS) <= set(BENCHMARKS)


@pytest.mark.parametrize(("is_native", "met"), [(True, False), (False, None)])
def test_a_run_is_written_with_its_verdicts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], is_native: bool, met: bool | None
):
    figure = Figure("upsert_new_vs_copy", 5.0, 10.0, "krows/s", 0.5, (0.4, 0.6), "COPY")
    skipped = Skipped("bytes_per_compressed_candle", "no recordings")
    run = Run(datetime(2025, 1, 1, tzinfo=UTC), "a server", is_native, (figure, skipped))
    write_run(run, tmp_path / "results.json")
    document = json.loads((tmp_path / "results.json").read_text())
    assert document["figures"][0]["met"] is met
    assert document["figures"][0]["spread"] == [0.4, 0.6]
    assert document["skipped"] == [{"key": "bytes_per_compressed_candle", "reason": "no recordings"}]
    print_run(run)
    printed = capsys.readouterr().out
    assert "0.40 to 0.60" in printed
    assert "no recordings" in printed
