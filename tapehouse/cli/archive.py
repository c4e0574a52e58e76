"""`tapehouse archive`: what retention is about to drop goes into files first."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from tapehouse.cli.failures import report_each
from tapehouse.cli.options import database_option, json_option, open_database
from tapehouse.cli.output import Column, counted, print_json, print_table, remark
from tapehouse.config import ARCHIVE, archive_folder
from tapehouse.errors import ArchiveError, InputError

if TYPE_CHECKING:
    from tapehouse.archive.archiving import ArchiveResult
    from tapehouse.archive.verifying import VerifiedFile
    from tapehouse.store.archive import Unarchived
    from tapehouse.store.connection import Connection
    from tapehouse.store.instruments import Dataset, Series

_EPILOG: Final = """\b
Examples:
  tapehouse archive --on all
  tapehouse archive --dry-run
  tapehouse archive --dir market-archive
  tapehouse archive --dir market-archive --verify --json
  tapehouse archive --off order_book

\b
Once a dataset is switched on, retention drops nothing of it that no file holds. Only what retention
drops within two days is archived: a Parquet file a series and chunk (30 days of 1m candles, a day of
trades or order books), in folders named as Hive does. Each is read back and compared with the
database before it counts; late writes make it count no longer, and the next run writes it anew. Run
the command daily, before retention does. MarketData, `tapehouse candles` and `tapehouse trades` read
the files where TAPEHOUSE_ARCHIVE names the folder.
"""
_ALL: Final = "all"
_DATASETS: Final = ("ohlcv", "trade", "order_book")
_CHOICE: Final = click.Choice((*_DATASETS, _ALL))
_ROW_COLUMNS: Final = (
    Column("series"),
    Column("from (UTC)"),
    Column("to (UTC)"),
    Column("rows", align="right"),
)


@click.command(epilog=_EPILOG)
@click.option(
    "--dir", "folder", type=click.Path(path_type=Path), metavar="DIR", help=f"Folder of the archive; else {ARCHIVE}."
)
@click.option("--on", "on", multiple=True, type=_CHOICE, help="Let retention drop a dataset only once it is archived.")
@click.option("--off", "off", multiple=True, type=_CHOICE, help="Let retention drop a dataset unarchived, too.")
@click.option("--dry-run", is_flag=True, help="Only show what would be archived.")
@click.option("--verify", is_flag=True, help="Read all files, and say which are missing or changed.")
@database_option
@json_option
def archive(
    *,
    folder: Path | None,
    on: tuple[str, ...],
    off: tuple[str, ...],
    dry_run: bool,
    verify: bool,
    url: str | None,
    as_json: bool,
) -> None:
    """Archive what retention is about to drop.

    Candles of 1m, trades and order books. Archiving is off until it is switched on by dataset.
    """
    if sum(map(bool, (on or off, dry_run, verify))) > 1:
        raise InputError("--on and --off, --dry-run, and --verify are different things to do: choose one.")
    if folder and (on or off):
        raise InputError("--on and --off write no file: leave --dir out, and give it when you archive.")
    with open_database(url) as connection:
        if on or off:
            _switch(connection, _named(on), _named(off), as_json=as_json)
        elif dry_run:
            _preview(connection, as_json=as_json)
        elif verify:
            _verify(connection, archive_folder(folder), as_json=as_json)
        else:
            _archive(connection, archive_folder(folder), as_json=as_json)


def _switch(connection: "Connection", on: "list[Dataset]", off: "list[Dataset]", *, as_json: bool) -> None:
    from tapehouse.store.archive import read_archiving, switch_archiving

    if both := set(on) & set(off):
        raise InputError(f"{', '.join(sorted(both))} can't be both switched on and off.")
    switch_archiving(connection, on=on, off=off)
    archived = read_archiving(connection)
    if as_json:
        print_json({"archived": archived})
        return
    print_table((Column("dataset"), Column("archived")), [(name, name in archived) for name in _DATASETS])


def _preview(connection: "Connection", *, as_json: bool) -> None:
    from tapehouse.store.archive import list_unarchived

    _tell_if_off(connection)
    due = list_unarchived(connection)
    if as_json:
        print_json({"files": [_due(one) for one in due]})
    elif due:
        print_table(_ROW_COLUMNS, [(one.series, *one.window, one.rows) for one in due])
    else:
        remark("There is nothing to archive now.")


def _archive(connection: "Connection", folder: Path, *, as_json: bool) -> None:
    from tapehouse.archive.archiving import archive_due

    _tell_if_off(connection)
    try:
        results = archive_due(connection, folder, progress=None if as_json else _tell)
    except KeyboardInterrupt:
        remark("Stopped. The files that are complete count: run the same command again to go on.")
        raise
    if as_json:
        print_json({"dir": str(folder), "files": [_result(one) for one in results]})
    elif results:
        columns = (*_ROW_COLUMNS, Column("bytes", align="right"), Column("status"), Column("file"))
        print_table(
            columns, [(one.series, *one.window, one.rows, one.size_bytes, one.status, one.path) for one in results]
        )
    else:
        remark("There is nothing to archive now.")
    if changed := sum(one.status == "changed" for one in results):
        remark(f"{counted(changed, 'file')} changed in the database meanwhile: run the command again for them.")
    report_each((one.name, one.error) for one in results)


def _verify(connection: "Connection", folder: Path, *, as_json: bool) -> None:
    from tapehouse.archive.verifying import verify_archive

    found = list(verify_archive(connection, folder))
    broken = [one for one in found if one.state != "sound"]
    if as_json:
        print_json({"dir": str(folder), "files": [{**asdict(one.file), "state": one.state} for one in found]})
    elif broken:
        columns = (*_ROW_COLUMNS, Column("state"), Column("elsewhere"), Column("file"))
        print_table(columns, map(_broken, broken))
    else:
        click.echo(f"{counted(len(found), 'file')}, {counted(sum(one.file.rows for one in found), 'row')}: all sound.")
    if broken:
        raise ArchiveError(
            f"{len(broken)} of {counted(len(found), 'file')} of the archive in {folder} are missing or changed. Where "
            "their rows are stored elsewhere, move away what has changed: the next `tapehouse archive` writes it anew. "
            "Bring back copies of the others."
        )


def _tell_if_off(connection: "Connection") -> None:
    from tapehouse.store.archive import read_archiving

    if not read_archiving(connection):
        remark("Archiving is off: `tapehouse archive --on all` switches it on.")


def _tell(result: "ArchiveResult") -> None:
    remark(f"{result.name}: {counted(result.rows, 'row')} {result.status}")


def _named(names: Sequence[str]) -> "list[Dataset]":
    return [name for name in _DATASETS if name in names or _ALL in names]


def _series(series: "Series") -> dict[str, Any]:
    return {
        "exchange": series.instrument.exchange,
        "symbol": series.instrument.symbol,
        "dataset": series.dataset,
        "timeframe": series.timeframe_name,
    }


def _due(one: "Unarchived") -> dict[str, Any]:
    return {**_series(one.series), "start": one.window[0], "end": one.window[1], "rows": one.rows}


def _result(one: "ArchiveResult") -> dict[str, Any]:
    return {
        **_series(one.series),
        "start": one.window[0],
        "end": one.window[1],
        "rows": one.rows,
        "status": one.status,
        "path": one.path,
        "bytes": one.size_bytes,
        "error": str(one.error) if one.error else None,
    }


def _broken(one: "VerifiedFile") -> tuple[object, ...]:
    file = one.file
    name = f"{file.exchange} {file.symbol} {file.dataset}"
    return name, file.start, file.end, file.rows, one.state, not file.is_dropped, file.path
