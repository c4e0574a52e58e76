"""`tapehouse import`: candles and trades from files, whatever wrote them."""

import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from tapehouse.cli.derived import Derived, refresh_derived, tell_derived
from tapehouse.cli.failures import report_each
from tapehouse.cli.options import Command, database_option, json_option, open_database, usable_database
from tapehouse.cli.output import Column, print_json, print_pairs, print_table, remark, utc_text
from tapehouse.cli.venue import require_exchange_name
from tapehouse.errors import StoreUnreachable, TapehouseError, UnknownExchange

if TYPE_CHECKING:
    from tapehouse.files.importing import ImportResult
    from tapehouse.files.understanding import Options, Understanding

_EPILOG: Final = """\b
Examples:
  tapehouse import btc.csv --exchange binance --symbol BTC/USDT --dry-run
  tapehouse import btc.csv --exchange binance --symbol BTC/USDT
  tapehouse import archive --dry-run --json
  tapehouse import archive --force

\b
CSV, JSON, Parquet and Arrow (feather) are read, CSV and JSON also in a zip or gz: candles and trades
of freqtrade (name the folder user_data/data/EXCHANGE), Binance's public data (with its CHECKSUM
files), cryptofeed, and what tapehouse exports.
--dry-run shows how a file is understood and writes nothing. A file that can't be understood is
refused whole; rows that fail validation go to quarantine. Rows that are stored with other values are
replaced. An import that was stopped is run again. With several files the exit code is that of the worst
failure.
"""
_RANGES_SHOWN: Final = 3
_COUNTS: Final = ("rows", "inserted", "changed", "unchanged", "rejected")


@dataclass(slots=True)
class _Imported:
    """What became of one file."""

    path: Path
    file: "Understanding | None" = None
    result: "ImportResult | None" = None
    error: TapehouseError | None = None


def _file_options(command: Command) -> Command:
    """Add the options that say what a file does not."""
    told = (
        click.option("--exchange", metavar="NAME", help="Whose data it is, as ccxt writes it: binance."),
        click.option("--symbol", metavar="SYMBOL", help="The market, as ccxt writes it: BTC/USDT, BTC/USDT:USDT."),
        click.option("--timeframe", metavar="LENGTH", help="The length of the candles: 1m, 1h, 1d."),
        click.option("--dataset", type=click.Choice(("ohlcv", "trade")), help="Candles or trades."),
        click.option("--time-unit", type=click.Choice(("s", "ms", "us", "ns")), help="What numbers since 1970 count."),
        click.option("--time-zone", metavar="ZONE", help="Of times that tell none: UTC, Europe/Berlin."),
        click.option("--amount-unit", type=click.Choice(("base", "contract")), help="What volumes and amounts count."),
    )
    for option in reversed(told):
        command = option(command)
    return command


@click.command(name="import", epilog=_EPILOG)
@click.argument("path", type=click.Path(path_type=Path))
@_file_options
@click.option("--dry-run", is_flag=True, help="Show how the files are understood, and write nothing.")
@click.option("--force", is_flag=True, help="Store also what the next run of retention will drop.")
@database_option
@json_option
def import_(path: Path, *, dry_run: bool, force: bool, url: str | None, as_json: bool, **told: Any) -> None:  # noqa: ANN401 -- the options of a file
    """Import candles or trades from a file, or from all files below a folder."""
    from tapehouse.files.found import find_data_files

    options = _options(**told)
    _remark_on_exchange(options.exchange)
    paths = find_data_files(path)
    if dry_run:
        _show_understood([_understood(one, options, url) for one in paths], as_json=as_json)
        return
    database = usable_database(url)
    done: list[_Imported] = []
    derived = Derived()
    try:
        _import_all(paths, options, done, database_url=database, force=force)
        if any(one.result and one.result.inserted + one.result.changed for one in done):
            derived = refresh_derived(database)
    except KeyboardInterrupt:
        remark("Stopped. What was committed stays: run the same command again to go on.")
        raise
    finally:
        _show_imported(done, derived, as_json=as_json)
    _report_failures(done)


def _options(*, timeframe: str | None, exchange: str | None, **told: Any) -> "Options":  # noqa: ANN401 -- as click gives them
    from tapehouse.files.markets import exchange_named
    from tapehouse.files.understanding import Options
    from tapehouse.timeframe import timeframe as timeframe_named

    return Options(
        exchange=exchange_named(exchange) if exchange else None,
        timeframe=timeframe_named(timeframe) if timeframe else None,
        **told,
    )


def _remark_on_exchange(exchange: str | None) -> None:
    """Files may be of an exchange that ccxt does not know; more often it is a slip of the fingers."""
    try:
        require_exchange_name(exchange)
    except UnknownExchange:
        remark(f"ccxt knows no exchange {exchange!r}: there are only files to take its data from.")


def _understood(path: Path, options: "Options", url: str | None) -> _Imported:
    from tapehouse.files.understanding import understand
    from tapehouse.store.instruments import read_symbols

    def known_symbols(exchange: str) -> Sequence[str]:
        # Only names like BTCUSDT need the database to be understood.
        with open_database(url) as connection:
            return read_symbols(connection, exchange)

    try:
        return _Imported(path, understand(path, options, known_symbols=known_symbols))
    except StoreUnreachable:
        raise
    except TapehouseError as error:
        return _Imported(path, error=error)


def _import_all(
    paths: Sequence[Path], options: "Options", done: list[_Imported], *, database_url: str, force: bool
) -> None:
    """Import the files one after another into `done`, which is known as far as it came also when interrupted."""
    from tapehouse.files.importing import import_file
    from tapehouse.store.connection import connect

    with connect(database_url) as connection:
        for path in paths:
            one = _understood(path, options, database_url)
            done.append(one)
            if one.file is None:
                continue
            with _progress(one) as show:

                def note(result: "ImportResult", one: _Imported = one, show: Callable[[], None] = show) -> None:
                    one.result = result
                    show()

                try:
                    import_file(connection, one.file, force=force, progress=note)
                except StoreUnreachable:
                    raise
                except TapehouseError as error:
                    one.error = error


@contextmanager
def _progress(one: _Imported) -> Generator[Callable[[], None]]:
    """What to call when more of the file was written: a bar, at a terminal alone."""
    assert one.file is not None
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} rows"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        bar = shown.add_task(one.path.name, total=one.file.rows)

        def show() -> None:
            shown.update(bar, completed=one.result.rows if one.result else 0)

        yield show


def _show_imported(done: Sequence[_Imported], derived: Derived, *, as_json: bool) -> None:
    if as_json:
        print_json({"files": [{**_as_json(one), **_counts(one)} for one in done], **derived.as_json()})
        return
    columns = (Column("file", wraps=True), Column("exchange"), Column("symbol"), Column("rows are"))
    counts = (*(Column(name, align="right") for name in _COUNTS), Column(""))
    print_table((*columns, *counts), (_row(one) for one in done))
    tell_derived(derived, remark)


def _row(one: _Imported) -> list[object]:
    file = one.file
    series = [file.exchange, file.symbol, _rows_are(file)] if file else ["", "", ""]
    return [str(one.path), *series, *_counts(one).values(), "failed" if one.error else ""]


def _counts(one: _Imported) -> dict[str, object]:
    return {name: getattr(one.result, name) if one.result else 0 for name in _COUNTS}


def _show_understood(found: Sequence[_Imported], *, as_json: bool) -> None:
    if as_json:
        print_json({"files": [_as_json(one) for one in found]})
    elif len(found) == 1 and found[0].file is not None:
        print_pairs({"file": str(found[0].path), **_in_words(found[0].file)})
    elif understood := [(one.path, one.file) for one in found if one.file is not None]:
        columns = (Column("file", wraps=True), Column("exchange"), Column("symbol"), Column("rows are"))
        more = (Column("rows", align="right"), Column("first (UTC)"), Column("last (UTC)"))
        print_table((*columns, *more), (_understood_row(path, file) for path, file in understood))
        remark(
            f"{len(understood):,} of {len(found):,} files are understood; name one alone to see how, or ask for --json."
        )
    _report_failures(found)


def _report_failures(found: Sequence[_Imported]) -> None:
    """Say what failed of which file, and exit with the worst code; one alone is known by its name."""
    report_each((one.path.name if len(found) == 1 else str(one.path), one.error) for one in found)


def _understood_row(path: Path, file: "Understanding") -> list[object]:
    return [str(path), file.exchange, file.symbol, _rows_are(file), file.rows, file.first, file.last]


def _in_words(file: "Understanding") -> dict[str, object]:
    checked = " (checksum verified)" if file.is_verified else ""
    return {
        "content": f"{file.table.content}{checked}, {file.layout.name}",
        "exchange": f"{file.exchange}{' (sandbox)' if file.from_sandbox else ''}",
        "symbol": file.symbol,
        "rows are": _rows_are(file),
        "columns": ", ".join(f"{role} in {name}" for role, name in file.layout.columns.items()),
        "times": file.times,
        "amounts": f"{file.amount_unit} units" if file.amount_unit else "as the instrument's, base units if it is new",
        "rows": f"{file.rows:,}{'' if file.disorder_ms == 0 else ', not in the order of time'}",
        "first": file.first,
        "last": file.last,
        "covers": _coverage(file),
    }


def _coverage(file: "Understanding") -> str:
    if file.vouched is None:
        return "each row's own time" if file.dataset == "ohlcv" else "from the first row to the last"
    ranges = [f"{utc_text(start)} to {utc_text(end)} UTC" for start, end in file.vouched[:_RANGES_SHOWN]]
    more = len(file.vouched) - len(ranges)
    return ", ".join([*ranges, *([f"and {more} more"] if more else [])])


def _rows_are(file: "Understanding") -> str:
    return f"{file.timeframe} candles" if file.timeframe else "trades"


def _as_json(one: _Imported) -> dict[str, object]:
    file = one.file
    error = {"error": str(one.error) if one.error else None}
    if file is None:
        return {"file": str(one.path), **error}
    return {
        "file": str(one.path),
        "content": str(file.table.content),
        "layout": file.layout.name,
        "checksum_verified": file.is_verified,
        "exchange": file.exchange,
        "symbol": file.symbol,
        "from_sandbox": file.from_sandbox,
        "dataset": file.dataset,
        "timeframe": file.timeframe.name if file.timeframe else None,
        "columns": dict(file.layout.columns),
        "times": file.times,
        "amount_unit": file.amount_unit,
        "rows": file.rows,
        "in_order": file.disorder_ms == 0,
        "first": file.first,
        "last": file.last,
        "covered": None if file.vouched is None else [{"start": start, "end": end} for start, end in file.vouched],
        **error,
    }
