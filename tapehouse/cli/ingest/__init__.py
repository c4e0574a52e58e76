"""`tapehouse ingest`: market data from an exchange into the store, one command a dataset."""

import click

from tapehouse.cli.ingest.ohlcv import ohlcv
from tapehouse.cli.ingest.order_books import order_books
from tapehouse.cli.ingest.trades import trades

__all__ = ["ingest"]


@click.group()
def ingest() -> None:
    """Fetch market data, check it and store it."""


for command in (ohlcv, trades, order_books):
    ingest.add_command(command)
