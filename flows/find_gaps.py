"""The flow that finds gaps and says why they are there: `python -m flows.find_gaps [--exchange kraken]`."""

from collections import Counter

import click
from prefect import flow
from prefect.runtime import flow_run

from flows.command import run_here
from flows.gaps import Dataset, asked_gaps
from flows.ingest_ohlcv import TimeframeName
from tasks.charts import publish_coverage
from tasks.gap_report import publish_gaps
from tasks.load import check_database


def _run_name() -> str:
    asked = flow_run.parameters
    about = " ".join(asked[name] for name in ("exchange", "symbol", "dataset", "timeframe") if asked[name])
    return f"find gaps {about}".rstrip()


@flow(name="find-gaps", flow_run_name=_run_name, persist_result=False)
async def find_gaps(
    exchange: str | None = None,
    symbol: str | None = None,
    dataset: Dataset | None = None,
    timeframe: TimeframeName | None = None,
    start: str | None = None,
    end: str | None = None,
) -> dict[str, int]:
    """Find where series of candles and trades have no usable rows, and why; the run's table names every gap.

    Its chart shows all that there is of every series, over time. The run succeeds also where there are gaps.
    Gives how many there are of each cause.

    Args:
        exchange: Only series of this exchange, by ccxt's name for it; of all if left out.
        symbol: Only series of this symbol; all if left out.
        dataset: Only candles (ohlcv), or only trades (trade); both if left out.
        timeframe: Only candles of this length; of all lengths if left out.
        start: From when on: 12h or 7d ago, a date such as 2025-05-01, or a time with its zone; each series
            from the first moment that was ever asked for, if left out.
        end: Up to when, written likewise; up to the last moment that was ever asked for, if left out.
    """
    await check_database()
    found = await asked_gaps(exchange, symbol, dataset, timeframe, start, end)
    await publish_gaps(found)
    await publish_coverage(exchange or None, symbol or None)
    return dict(Counter(gap.cause for gap in found))


@click.command()
@click.option("--exchange", help="Only series of this exchange.")
@click.option("--symbol", help="Only series of this symbol.")
@click.option("--start", help="From when on: 7d ago, a date, a time with zone.")
@click.option("--end", help="Up to when, written likewise.")
def command(exchange: str | None, symbol: str | None, start: str | None, end: str | None) -> None:
    """Find gaps of stored series and their causes."""
    run_here(find_gaps(exchange, symbol, start=start, end=end))


if __name__ == "__main__":
    command()
