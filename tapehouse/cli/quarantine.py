"""`tapehouse quarantine`: rejected rows, with the reasons for which they were."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import click

from tapehouse.cli.options import database_option, json_option, open_database
from tapehouse.cli.output import Column, print_json, print_table, remark
from tapehouse.cli.venue import require_exchange_name

if TYPE_CHECKING:
    from tapehouse.store.quarantine import QuarantinedRow

_EPILOG: Final = """\b
Examples:
  tapehouse quarantine
  tapehouse quarantine --exchange kraken --symbol BTC/USD --rows 100
  tapehouse quarantine --json | jq '.rows[].reasons'
"""
_COLUMNS: Final = (
    Column("exchange"),
    Column("symbol"),
    Column("dataset"),
    Column("time (UTC)"),
    Column("reasons"),
    Column("row as it came", wraps=True),
    Column("seen", align="right"),
)


@click.command(epilog=_EPILOG)
@click.option("--exchange", metavar="NAME", help="Only rows of this exchange.")
@click.option("--symbol", metavar="SYMBOL", help="Only rows of this symbol.")
@click.option("--rows", type=click.IntRange(min=1), default=20, show_default=True, help="The most rows to show.")
@database_option
@json_option
def quarantine(*, exchange: str | None, symbol: str | None, rows: int, url: str | None, as_json: bool) -> None:
    """Show rows that were rejected.

    Those seen last come first, as the exchange sent them, with the checks they failed.
    """
    from tapehouse.store.quarantine import read_quarantine

    with open_database(url) as connection:
        found = read_quarantine(connection, exchange=exchange, symbol=symbol, at_most=rows)
    if not found:
        require_exchange_name(exchange)
    if as_json:
        print_json({"rows": [_as_json(one) for one in found]})
    elif found:
        print_table(
            _COLUMNS,
            (
                (
                    one.exchange,
                    one.symbol,
                    _dataset(one),
                    one.time,
                    ", ".join(one.reasons),
                    json.dumps(one.raw),
                    one.seen,
                )
                for one in found
            ),
        )
    else:
        remark("Nothing was rejected.")


def _as_json(row: "QuarantinedRow") -> dict[str, object]:
    return {**asdict(row), "timeframe": row.timeframe.name if row.timeframe else None}


def _dataset(row: "QuarantinedRow") -> str:
    return f"{row.dataset} {row.timeframe}" if row.timeframe else row.dataset
