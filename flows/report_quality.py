"""The flow that reports how good stored data is: `python -m flows.report_quality [--since 7d]`."""

from typing import Final

import click
from prefect import flow
from prefect.runtime import flow_run

from flows.command import run_here
from flows.ingest_ohlcv import TimeframeName
from flows.series import asked_range
from tapehouse.quality import ReportedDay, Thresholds
from tapehouse.store.instruments import Dataset
from tapehouse.timeframe import timeframe as timeframe_named
from tasks.load import check_database
from tasks.quality import publish_quality, publish_quality_chart
from tasks.quality import report_quality as report

_DEFAULTS: Final = Thresholds()


def _run_name() -> str:
    asked = flow_run.parameters
    about = " ".join(asked[name] for name in ("exchange", "symbol", "dataset", "timeframe") if asked[name])
    return f"report quality since {asked['since']} {about}".rstrip()


@flow(name="report-quality", flow_run_name=_run_name, persist_result=False)
async def report_quality(
    exchange: str | None = None,
    symbol: str | None = None,
    dataset: Dataset | None = None,
    timeframe: TimeframeName | None = None,
    since: str = "1d",
    until: str | None = None,
    stale_bars: int = _DEFAULTS.stale_bars,
    outlier_ranges: float = _DEFAULTS.outlier_ranges,
    outlier_move: float = _DEFAULTS.outlier_move,
    still_book_s: float = _DEFAULTS.still_book_s,
) -> list[ReportedDay]:
    """Judge each series day by day: gaps, rejected rows, disagreement with trades, stale prices, outliers.

    The outcome is kept, with a score of 0 to 100; the run's table has what was found and what has changed since
    the day before, the chart the scores of the last 30 days. The run succeeds whatever is found.

    Args:
        exchange: Only series of this exchange, by ccxt's name for it; of all if left out.
        symbol: Only series of this symbol; all if left out.
        dataset: Only candles (ohlcv), trades (trade) or order books (order_book); all if left out.
        timeframe: Only candles of this length; of all lengths if left out.
        since: The first UTC day: 12h or 7d ago, a date such as 2025-05-01, or a time with its zone.
        until: Up to when, written likewise; up to now if left out.
        stale_bars: So many flat bars in a row, at one price, are looked at.
        outlier_ranges: An outlier jumps away and back by so many mean ranges of the bars around it.
        outlier_move: And by this share of the price, 0.01 for 1 %.
        still_book_s: So many seconds an order book's best levels must stay the same while trades are made.
    """
    start, end = asked_range(since, until)
    thresholds = Thresholds(
        stale_bars=stale_bars, outlier_ranges=outlier_ranges, outlier_move=outlier_move, still_book_s=still_book_s
    )
    length = timeframe_named(timeframe) if timeframe else None
    await check_database()
    found = await report(exchange or None, symbol or None, dataset, length, start, end, thresholds)
    await publish_quality(found)
    await publish_quality_chart(exchange or None, symbol or None)
    return found


@click.command()
@click.option("--exchange", help="Only series of this exchange.")
@click.option("--symbol", help="Only series of this symbol.")
@click.option("--since", default="1d", show_default=True, help="The first UTC day: 7d ago, a date, a time with zone.")
@click.option("--until", help="Up to when, written likewise; now if left out.")
def command(exchange: str | None, symbol: str | None, since: str, until: str | None) -> None:
    """Report how good stored series are, day by day."""
    run_here(report_quality(exchange, symbol, since=since, until=until))


if __name__ == "__main__":
    command()
