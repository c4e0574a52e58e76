"""`tapehouse delete`: stored rows of a series, with all that is known of them and derived from them."""

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

import click

from tapehouse.cli.agreement import require_yes
from tapehouse.cli.derived import Derived, refresh_derived, tell_derived
from tapehouse.cli.options import database_option, json_option, moment_option, open_database, usable_database
from tapehouse.cli.output import print_json, print_pairs, remark, utc_text
from tapehouse.errors import InputError, ReversedRange

if TYPE_CHECKING:
    from tapehouse.store.delete import Deletion
    from tapehouse.store.instruments import Dataset, Series
    from tapehouse.timeframe import Timeframe

_EPILOG: Final = """\b
Examples:
  tapehouse delete --exchange binance --symbol BTC/USDT --timeframe 1m --start 2025-01-01 --end 2025-02-01 --dry-run
  tapehouse delete --exchange binance --symbol BTC/USDT --timeframe 1m --end 2025-01-01 --yes
  tapehouse delete --exchange binance --symbol BTC/USDT --dataset trade --dry-run --json

\b
What goes: the rows, that they were fetched, what could not be had, and what is derived: rollups and
features are computed again from what is left. `tapehouse backfill` fetches it once more. Quarantine
stays, and a series that has rows there stays in `tapehouse coverage`; others of which all is deleted
do not. It goes newest first, in steps: a deletion that is stopped goes on when it is run again.
"""
_RANGES_SHOWN: Final = 5
_DERIVED: Final = {
    "ohlcv": "rollups 5m, 15m, 1h, 4h and 1d",
    "trade": "candles built from trades, imbalances",
    "order_book": "features of order books, imbalances",
}


@click.command(epilog=_EPILOG)
@click.option("--exchange", required=True, metavar="NAME", help="The exchange.")
@click.option("--symbol", required=True, metavar="SYMBOL", help="The symbol, as in BTC/USDT.")
@click.option("--timeframe", metavar="NAME", help="Candles of this length: 1m, 1h...")
@click.option("--dataset", type=click.Choice(("ohlcv", "trade", "order_book")), help="What else than candles.")
@click.option(
    "--start",
    type=moment_option,
    metavar="TIME",
    help="From when on: 7d (ago), a date, or ISO 8601 with zone; by default from the first row on.",
)
@click.option(
    "--end", type=moment_option, metavar="TIME", help="Up to when, written likewise; by default to the last row."
)
@click.option("--dry-run", is_flag=True, help="Only show what would go.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@database_option
@json_option
def delete(
    *,
    exchange: str,
    symbol: str,
    timeframe: str | None,
    dataset: Literal["ohlcv", "trade", "order_book"] | None,
    start: datetime | None,
    end: datetime | None,
    dry_run: bool,
    yes: bool,
    url: str | None,
    as_json: bool,
) -> None:
    """Delete stored rows of one series, all of them or those of a range.

    Candles go with the range in which they open. What would go is shown first, and nothing goes
    before you agree. Without --start and --end it is the whole series.
    """
    what, length = _dataset_meant(dataset, timeframe)
    if start is not None and end is not None and end <= start:
        raise ReversedRange(f"--start is {utc_text(start)} and --end is {utc_text(end)} UTC: swap them.")
    address = usable_database(url)

    from tapehouse.store.delete import delete_rows, preview_deletion
    from tapehouse.store.instruments import find_instrument, find_series

    with open_database(address) as connection:
        series = find_series(connection, find_instrument(connection, exchange, symbol), what, length)
        found = preview_deletion(connection, series, start, end)
        if found and (dry_run or not (yes or as_json)):
            _show(series, found, as_json=as_json)
        if found and not dry_run:
            _require_agreement(series, found, yes=yes)
            found = delete_rows(connection, series, start, end, progress=_tell_step)
    if found is None:
        _tell_nothing(series, as_json=as_json)
    elif not dry_run:
        remark("Computing anew what is derived from it.")
        _tell(series, found, refresh_derived(address), as_json=as_json)


def _dataset_meant(dataset: "Dataset | None", timeframe: str | None) -> "tuple[Dataset, Timeframe | None]":
    if timeframe is None and dataset in (None, "ohlcv"):
        raise InputError("Say what to delete: --timeframe 1m (or another) for candles, --dataset trade or order_book.")
    if timeframe is None:
        return dataset or "ohlcv", None
    if dataset not in (None, "ohlcv"):
        raise InputError(f"--dataset {dataset} has no timeframe: leave out one of the two.")

    from tapehouse.timeframe import timeframe as timeframe_named

    return "ohlcv", timeframe_named(timeframe)


def _tell_nothing(series: "Series", *, as_json: bool) -> None:
    if as_json:
        print_json({**_named(series), "start": None, "end": None, "rows": 0, "covered": [], "deleted": False})
        return
    click.echo(f"Nothing of {series} is stored there.")


def _show(series: "Series", found: "Deletion", *, as_json: bool) -> None:
    if as_json:
        print_json({**_named(series), **_measured(found), "deleted": False})
        return
    start, end = found.span
    ranges = [f"{utc_text(first)} to {utc_text(last)}" for first, last in found.covered[:_RANGES_SHOWN]]
    more = len(found.covered) - len(ranges)
    print_pairs(
        {
            "series": series,
            "from (UTC)": start,
            "to (UTC)": end,
            "rows": f"{found.rows:,}",
            "fetched": ", ".join(ranges) + (f" and {more:,} more" if more else "") if ranges else None,
            "recomputed": _DERIVED[series.dataset] if series.timeframe_name in (None, "1m") else None,
        }
    )


def _require_agreement(series: "Series", found: "Deletion", *, yes: bool) -> None:
    if yes:
        return
    start, end = found.span
    question = f"Delete {found.rows:,} rows of {series} from {utc_text(start)} to {utc_text(end)} UTC?"
    require_yes(question, undone="Nothing was deleted")


def _tell_step(step: "Deletion") -> None:
    remark(f"{step.rows:,} rows deleted, back to {utc_text(step.span[0])} UTC")


def _tell(series: "Series", deleted: "Deletion", derived: Derived, *, as_json: bool) -> None:
    if as_json:
        print_json({**_named(series), **_measured(deleted), "deleted": True, **derived.as_json()})
        return
    start, end = deleted.span
    click.echo(f"Deleted {deleted.rows:,} rows of {series} from {utc_text(start)} to {utc_text(end)} UTC.")
    tell_derived(derived, click.echo)


def _named(series: "Series") -> dict[str, Any]:
    instrument = series.instrument
    return {
        "exchange": instrument.exchange,
        "symbol": instrument.symbol,
        "dataset": series.dataset,
        "timeframe": series.timeframe_name,
    }


def _measured(deletion: "Deletion") -> dict[str, Any]:
    covered = [{"start": start, "end": end} for start, end in deletion.covered]
    return {"start": deletion.span[0], "end": deletion.span[1], "rows": deletion.rows, "covered": covered}
