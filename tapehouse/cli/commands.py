"""The command `tapehouse` and the list of what it can do; each command's own business is its module's."""

from typing import Final

import click

from tapehouse.cli.archive import archive
from tapehouse.cli.backfill import backfill
from tapehouse.cli.candles import candles
from tapehouse.cli.compare import compare
from tapehouse.cli.coverage import coverage
from tapehouse.cli.db import db
from tapehouse.cli.delete import delete
from tapehouse.cli.export import export
from tapehouse.cli.failures import FailingWell
from tapehouse.cli.gaps import gaps
from tapehouse.cli.imbalances import imbalances
from tapehouse.cli.import_ import import_
from tapehouse.cli.ingest import ingest
from tapehouse.cli.instruments import instruments
from tapehouse.cli.metrics import metrics
from tapehouse.cli.order_book import order_book
from tapehouse.cli.quality import quality
from tapehouse.cli.quarantine import quarantine
from tapehouse.cli.refresh import refresh
from tapehouse.cli.repair import repair
from tapehouse.cli.replay import replay
from tapehouse.cli.sandbox import sandbox
from tapehouse.cli.status import status
from tapehouse.cli.stream import stream
from tapehouse.cli.trades import trades

_EPILOG: Final = """\b
Try it without an account, a server or the internet:
  tapehouse db up
  tapehouse ingest ohlcv --sandbox --exchange binance --symbol BTC/USDT --since 7d
  tapehouse candles binance BTC/USDT 1h --start 2d
  tapehouse ingest trades --sandbox --exchange binance --symbol BTC/USDT --since 1h
  tapehouse trades binance BTC/USDT --start 1h

\b
Exit codes:
  0 done     1 unexpected    2 wrong input     3 exchange         4 database
  5 too many rejected rows   6 local service   130 stopped by Ctrl-C
  `metrics` and `sandbox`, which go on until Ctrl-C, end with 0 then.
  Of `status` and `db maintain`, 1 says that something needs a person.
"""


@click.group(cls=FailingWell, epilog=_EPILOG, context_settings={"max_content_width": 100})
@click.version_option(package_name="tapehouse", message="tapehouse %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(*, debug: bool) -> None:
    """A store for crypto market data: from exchanges to TimescaleDB to DataFrames.

    The database is the one of --url or TAPEHOUSE_DATABASE_URL, else the embedded one that
    `tapehouse db up` starts.
    """
    del debug  # FailingWell reads it


_COMMANDS: Final = (
    ingest,
    stream,
    replay,
    backfill,
    candles,
    trades,
    order_book,
    imbalances,
    compare,
    instruments,
    coverage,
    gaps,
    repair,
    export,
    import_,
    archive,
    refresh,
    quarantine,
    quality,
    delete,
    status,
    metrics,
    db,
    sandbox,
)
for command in _COMMANDS:
    main.add_command(command)
