"""`python -m benchmarks`: run the benchmarks, print a table, write results.json."""

import shutil
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

from benchmarks.catalog import BENCHMARKS
from benchmarks.figure import Outcome
from benchmarks.report import new_run, print_run, write_run
from benchmarks.setting import FULL, Setting, engine_of
from tapehouse import embedded
from tapehouse.errors import TapehouseError

_HERE: Final = Path(__file__).parent
_RESULTS: Final = _HERE / "results.json"
_RECORDINGS: Final = _HERE.parents[1] / "shared" / "data"


@click.command()
@click.option("--url", help="A database of its own on a TimescaleDB server; by default an embedded one is started.")
@click.option("--only", metavar="KEY,...", help=f"Take only these figures: {', '.join(BENCHMARKS)}.")
@click.option("--psql", default=shutil.which("psql"), help="The psql program; by default the one on PATH.")
def main(*, url: str | None, only: str | None, psql: str | None) -> None:
    """Measure tapehouse against named baselines; the database given is emptied."""
    keys = _chosen(only)
    try:
        with _database(url) as found:
            _run(Setting(found, FULL, psql, _RECORDINGS, _HERE.parent), keys)
    except TapehouseError as error:
        click.echo(error, err=True)
        raise SystemExit(error.exit_code) from error


def _chosen(only: str | None) -> Sequence[str]:
    keys = only.split(",") if only else list(BENCHMARKS)
    unknown = [key for key in keys if key not in BENCHMARKS]
    if unknown:
        raise click.BadParameter(f"no benchmark {', '.join(unknown)}", param_hint="--only")
    return keys


@contextmanager
def _database(url: str | None) -> Generator[str]:
    if url is not None:
        yield url
        return
    with tempfile.TemporaryDirectory(prefix="tapehouse-bench-") as folder, embedded.running(Path(folder)) as status:
        assert status.url is not None
        yield status.url


def _run(setting: Setting, keys: Sequence[str]) -> None:
    with setting.emptied_database() as connection:
        engine = engine_of(connection)
    outcomes: list[Outcome] = []
    for key in keys:
        click.echo(f"{key} ...", err=True)
        outcomes.append(BENCHMARKS[key](setting))
    run = new_run(engine, outcomes)
    print_run(run)
    write_run(run, _RESULTS)
    click.echo(f"Written to {_RESULTS}.", err=True)


if __name__ == "__main__":
    main()
