"""`tapehouse db retention`: how long rows are kept, and changing it."""

import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import click

from tapehouse.cli.agreement import require_yes
from tapehouse.cli.options import database_option, json_option, open_database
from tapehouse.cli.output import Column, print_json, print_table, remark, utc_text
from tapehouse.errors import InputError

if TYPE_CHECKING:
    from tapehouse.store.retention import Kept

_EPILOG: Final = """\b
Examples:
  tapehouse db retention
  tapehouse db retention --keep ohlcv=10y
  tapehouse db retention --keep trade=forever --keep order_book='6 months' --yes

\b
Of ohlcv only 1m candles are dropped, and their rollups stay; longer candles are kept for good. Rows
go in whole chunks (30 days of candles, a day of trades and order books, a week of what is computed
of them), and never before what is derived from them is up to date, nor before they are archived
where that is on (`tapehouse archive`). Where the server runs no jobs by itself, as the embedded one,
`tapehouse db maintain` does.
"""
_COLUMNS: Final = (
    Column("dataset"),
    Column("kept for"),
    Column("kept from (UTC)"),
    Column("dropped before (UTC)"),
    Column("next run (UTC)"),
)
_DATASETS: Final = ("ohlcv", "trade", "order_book", "order_book_1s", "imbalance")
_FOREVER: Final = "forever"
# PostgreSQL counts back to 4713 BC, Python to the year 1.
_PERIOD: Final = re.compile(r"([1-9][0-9]{0,2}|[1-9][0-9]{3}(?! ?y)) ?(d|days?|w|weeks?|months?|y|years?)")
_UNITS: Final = {"d": "days", "w": "weeks", "m": "months", "y": "years"}
_HOW: Final = "write 90d, 8w, '18 months', 5y or forever, as in --keep ohlcv=5y."


@click.command(epilog=_EPILOG)
@click.option(
    "--keep",
    "keeps",
    multiple=True,
    metavar="DATASET=PERIOD",
    help="Keep a dataset that long: 90d, 8w, '18 months', 5y or forever; may be repeated.",
)
@click.option("--yes", is_flag=True, help="Don't ask where less is kept than before.")
@database_option
@json_option
def retention(*, keeps: tuple[str, ...], yes: bool, url: str | None, as_json: bool) -> None:
    """Show or change how long rows are kept.

    And from when on: what is older, the next run of retention drops, and `tapehouse backfill` and
    `tapehouse import` refuse to begin there without --force.
    """
    changes = dict(map(_change, keeps))

    from tapehouse.store.retention import change_kept, read_kept

    with open_database(url) as connection:
        kept = read_kept(connection)
        if changes:
            _require_agreement(kept, change_kept(connection, changes, dry_run=True), yes=yes)
            kept = change_kept(connection, changes)
    if as_json:
        print_json({"retention": [asdict(one) for one in kept]})
        return
    print_table(
        _COLUMNS,
        [(one.dataset, one.keep or _FOREVER, one.kept_since, one.dropped_before, one.next_run_at) for one in kept],
    )


def _change(keep: str) -> tuple[str, str | None]:
    """The dataset and the interval that `ohlcv=5y` means; None for ever."""
    dataset, _, period = (part.strip() for part in keep.partition("="))
    if dataset not in _DATASETS:
        raise InputError(
            f"{dataset!r} is dropped by no retention: name one of {', '.join(_DATASETS)}, as in --keep ohlcv=5y."
        )
    if not period:
        raise InputError(f"How long is {dataset} to be kept? {_HOW.capitalize()}")
    if period == _FOREVER:
        return dataset, None
    match = _PERIOD.fullmatch(period)
    if match is None:
        raise InputError(f"{period!r} is no time to keep {dataset}: {_HOW}")
    return dataset, f"{match[1]} {_UNITS[match[2][0]]}"


def _require_agreement(before: "Sequence[Kept]", after: "Sequence[Kept]", *, yes: bool) -> None:
    """Ask before less is kept than now; raises InputError where that is not agreed to."""
    shortened = [
        new
        for old, new in zip(before, after, strict=True)
        if new.kept_since and (old.kept_since is None or new.kept_since > old.kept_since)
    ]
    if yes or not shortened:
        return
    for kept in shortened:
        remark(f"The next run of retention will drop {kept.dataset} before {utc_text(kept.kept_since)} UTC.")
    require_yes("Keep less than before?", undone="Nothing was changed")
