"""`tapehouse export`: stored candles and trades as files for other programs, and for `tapehouse import`."""

import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import click

from tapehouse.cli.failures import report_each
from tapehouse.cli.options import (
    database_option,
    json_option,
    moment_option,
    open_database,
    require_sensible_range,
)
from tapehouse.cli.output import Column, print_json, print_table, remark, utc_text
from tapehouse.errors import InputError, StoreUnreachable, TapehouseError, UnknownSeries

if TYPE_CHECKING:
    from tapehouse.files.exporting import ExportedFile, Progress, SeriesExport, Target
    from tapehouse.files.formats import Format
    from tapehouse.store.instruments import CandleSeries, TradeSeries

_EPILOG: Final = """\b
Examples:
  tapehouse export archive
  tapehouse export archive --exchange binance --symbol BTC/USDT,ETH/USDT --timeframe 1m --start 2025-01-01
  tapehouse export archive --exchange binance --dataset trade --start 7d
  tapehouse export user_data/data --exchange binance --timeframe 1m --format feather
  tapehouse export btc.csv --exchange binance --symbol BTC/USDT --timeframe 1h --start 2025-01-01

\b
Parquet lies in folders named as Hive does (dataset=ohlcv/exchange=binance/symbol=BTC%2FUSDT/...),
a file a month, a year of candles of a day and longer, a day of trades: pandas, pyarrow, DuckDB and
polars read it as it is. Feather has freqtrade's layout and names. The same command again writes
files that have new rows, and all files of a series in which older rows were changed; rows that
were dropped by retention or deleted since stay in the Parquet files of a folder.
"""
_SUFFIXES: Final[dict[str, "Format"]] = {".parquet": "parquet", ".feather": "feather", ".csv": "csv"}
_EVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SERIES_NAMED: Final = 3
_GAPS_SHOWN: Final = 5


@click.command(epilog=_EPILOG)
@click.argument("path", metavar="DIR_OR_FILE", type=click.Path(path_type=Path))
@click.option("--exchange", metavar="NAME", help="Only series of this exchange.")
@click.option("--symbol", "symbols", multiple=True, metavar="SYMBOL", help="Only these; several with commas.")
@click.option("--timeframe", "timeframes", multiple=True, metavar="NAME", help="Only candles, stored in these.")
@click.option("--dataset", type=click.Choice(("ohlcv", "trade")), help="Only candles, or only trades.")
@click.option(
    "--start", type=moment_option, metavar="TIME", help="From when on: 7d (ago), a date, or ISO 8601 with zone."
)
@click.option("--end", type=moment_option, metavar="TIME", help="Up to when; by default now.")
@click.option(
    "--format",
    "form",
    type=click.Choice(("parquet", "feather", "csv")),
    help="By default that of the file's name, else parquet.",
)
@database_option
@json_option
def export(
    *,
    path: Path,
    exchange: str | None,
    symbols: tuple[str, ...],
    timeframes: tuple[str, ...],
    dataset: Literal["ohlcv", "trade"] | None,
    start: datetime | None,
    end: datetime | None,
    form: "Format | None",
    url: str | None,
    as_json: bool,
) -> None:
    """Write stored candles and trades to files, as they were fetched.

    Without --exchange, --symbol and the like that is all there is. Nothing is resampled. What of the
    time was fetched is noted in the files (beside them for CSV), so that `tapehouse import` restores it.
    """
    require_sensible_range(start or _EVER, end, names=("--start", "--end"))
    names, lengths = _listed(symbols), _listed(timeframes)
    if lengths and dataset == "trade":
        raise InputError("Trades have no timeframe: leave out --timeframe or --dataset trade.")
    target = _target(path, form)
    found = _series(exchange, names, lengths, dataset, url=url)
    if target.is_file and len(found) > 1:
        more = f" and {len(found) - _SERIES_NAMED:,} more" if len(found) > _SERIES_NAMED else ""
        raise InputError(
            f"{path} is one file, and {len(found)} series were asked for "
            f"({', '.join(map(str, found[:_SERIES_NAMED]))}{more}): "
            "name a folder, or say which with --exchange, --symbol, --timeframe and --dataset."
        )
    exports, failures = _export(found, target, (start or _EVER, end), url=url)
    if as_json:
        print_json({"path": str(path), "format": target.form, "series": [_as_json(one) for one in exports]})
    elif exports:
        _show(exports)
    report_each(failures.items())


def _listed(given: Sequence[str]) -> list[str]:
    """The names in the order given, none twice."""
    return list(dict.fromkeys(name.strip() for text in given for name in text.split(",") if name.strip()))


def _target(path: Path, form: "Format | None") -> "Target":
    from tapehouse.files.exporting import Target

    named = None if path.is_dir() else _SUFFIXES.get(path.suffix.lower())
    if named and form and named != form:
        raise InputError(f"{path} is named as {named}, and --format says {form}: choose one.")
    if not named and path.is_file():
        raise InputError(f"{path} is a file that is no {', '.join(_SUFFIXES)}: name a folder, or another file.")
    if not named and path.suffix and not path.exists():
        raise InputError(f"{path} is named as no {', '.join(_SUFFIXES)}: name it so, or make it a folder first.")
    return Target(path, named or form or "parquet", is_file=named is not None)


def _series(
    exchange: str | None,
    symbols: Sequence[str],
    timeframes: Sequence[str],
    dataset: Literal["ohlcv", "trade"] | None,
    *,
    url: str | None,
) -> "list[CandleSeries | TradeSeries]":
    """The stored series asked for; raises UnknownSeries where one of the names has none."""
    from tapehouse.store.instruments import list_series
    from tapehouse.timeframe import timeframe

    lengths = {timeframe(name).name for name in timeframes}
    with open_database(url) as connection:
        stored = list_series(connection, exchange=exchange, dataset="ohlcv" if lengths else dataset)
    of_symbols = [one for one in stored if not symbols or one.instrument.symbol in symbols]
    found = [one for one in of_symbols if not lengths or one.timeframe_name in lengths]
    missing = [
        *(name for name in symbols if name not in {one.instrument.symbol for one in found}),
        *sorted(lengths - {one.timeframe_name or "" for one in found}),
    ]
    if missing or not found:
        there = ", ".join(map(str, of_symbols[:5])) or "nothing of it"
        raise UnknownSeries(
            f"No such series is stored{f' of {missing[0]}' if missing else ''}, and only what is stored itself is "
            f"exported; there is {there}. `tapehouse coverage` shows all."
        )
    return found


def _export(
    found: "Sequence[CandleSeries | TradeSeries]",
    target: "Target",
    asked: tuple[datetime, datetime | None],
    *,
    url: str | None,
) -> "tuple[list[SeriesExport], dict[str, TapehouseError]]":
    """What was exported, and what failed by series; one that fails stops no other."""
    from tapehouse.files.exporting import export_series
    from tapehouse.query.reader import Reader
    from tapehouse.store.address import database_url

    reader = Reader.connect(database_url(url))
    exports: list[SeriesExport] = []
    failures: dict[str, TapehouseError] = {}
    try:
        for series in found:
            try:
                with _progress(str(series)) as progressed:
                    exports.append(export_series(reader, series, target, asked, progressed=progressed))
            except StoreUnreachable:
                raise
            except TapehouseError as error:
                failures[str(series)] = error
    except KeyboardInterrupt:
        remark("Stopped. The files that are complete stay: run the same command again to go on.")
        raise
    finally:
        reader.close()
    return exports, failures


@contextmanager
def _progress(name: str) -> "Generator[Progress]":
    """What to tell how far the export of a series is: a bar at a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _standing: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[counts]}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        bar = shown.add_task(name, total=1.0, counts="asking")
        yield lambda standing: shown.update(
            bar, completed=standing.share, counts=f"{standing.rows:>12,} rows  {utc_text(standing.reached)}"
        )


def _show(exports: "Sequence[SeriesExport]") -> None:
    columns = (
        Column("series"),
        Column("from (UTC)"),
        Column("to (UTC)"),
        *(Column(name, align="right") for name in ("rows", "gaps", "files", "written", "unchanged", "kept")),
    )
    print_table(columns, map(_row, exports))
    for one in exports:
        _remark_on(one)


def _row(one: "SeriesExport") -> list[object]:
    span = one.span or (None, None)
    counts = [sum(file.status == status for file in one.files) for status in ("written", "unchanged", "kept")]
    return [str(one.series), *span, one.rows, len(one.gaps), len(one.files), *counts]


def _remark_on(one: "SeriesExport") -> None:
    if one.series.instrument.from_sandbox:
        remark(f"{one.series}: this came from the sandbox, not from the exchange, and the files say so.")
    if not one.files:
        remark(f"{one.series}: nothing of that time was fetched, so there is no file.")
    if one.dropped_before:
        remark(f"{one.series}: retention has dropped what was before {utc_text(one.dropped_before)} UTC.")
    more = [file.path for file in one.files if file.lost]
    if more:
        remark(
            f"{one.series}: {len(more)} of the files hold what the database has no longer, the first is {more[0]}: "
            "remove such files before an export to have only what it has."
        )
    for start, end in one.gaps[:_GAPS_SHOWN]:
        remark(f"{one.series}: gap {utc_text(start)} to {utc_text(end)} UTC.")
    if len(one.gaps) > _GAPS_SHOWN:
        remark(f"{one.series}: ... and {len(one.gaps) - _GAPS_SHOWN} more: --json lists them.")


def _as_json(one: "SeriesExport") -> dict[str, Any]:
    instrument = one.series.instrument
    start, end = one.span or (None, None)
    return {
        "exchange": instrument.exchange,
        "symbol": instrument.symbol,
        "dataset": one.series.dataset,
        "timeframe": one.series.timeframe_name,
        "from_sandbox": instrument.from_sandbox,
        "start": start,
        "end": end,
        "rows": one.rows,
        "gaps": one.gaps,
        "dropped_before": one.dropped_before,
        "files": [_file_as_json(file) for file in one.files],
    }


def _file_as_json(file: "ExportedFile") -> dict[str, Any]:
    label = file.label
    return {
        "path": str(file.path),
        "status": file.status,
        "rows": file.rows,
        "bytes": file.path.stat().st_size,
        "start": label.start,
        "end": label.end,
        "covered": label.covered,
        "revision": label.revision,
        "amount_unit": label.amount_unit,
    }
