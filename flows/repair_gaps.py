"""The flow that closes gaps: `python -m flows.repair_gaps [--exchange kraken] [--fallback coinbaseexchange]`."""

import asyncio
from collections.abc import Sequence

import click
from prefect import flow
from prefect.runtime import flow_run

from flows.command import run_here
from flows.derived import refresh_derived
from flows.gaps import Dataset, asked_gaps
from flows.ingest_ohlcv import TimeframeName
from tapehouse.ingest import ExchangeRepair, FallbackName, due_by_exchange
from tapehouse.store.gaps import Gap
from tasks.gap_report import publish_repair, repair_reports
from tasks.gaps import repair_gaps as repair
from tasks.load import check_database
from tasks.report import raise_failures
from tasks.slots import only_run, slot_name


def _run_name() -> str:
    asked = flow_run.parameters
    about = " ".join(asked[name] for name in ("exchange", "symbol", "dataset", "timeframe") if asked[name])
    return f"repair gaps {about}".rstrip()


@flow(name="repair-gaps", flow_run_name=_run_name, persist_result=False)
async def repair_gaps(
    exchange: str | None = None,
    symbol: str | None = None,
    dataset: Dataset | None = None,
    timeframe: TimeframeName | None = None,
    start: str | None = None,
    end: str | None = None,
    fallbacks: list[str] | None = None,
) -> None:
    """Close what can be closed of the gaps: from the exchange, from other stored data, from other exchanges.

    What could not be had waits, the longer the more often it was tried, and is not asked for before. One exchange
    that fails does not stop the others; the run then fails at its end, naming what failed.

    Args:
        exchange: Only series of this exchange, by ccxt's name for it; of all if left out.
        symbol: Only series of this symbol; all if left out.
        dataset: Only candles (ohlcv), or only trades (trade); both if left out.
        timeframe: Only candles of this length; of all lengths if left out.
        start: From when on: 12h or 7d ago, a date such as 2025-05-01, or a time with its zone; each series
            from the first moment that was ever asked for, if left out.
        end: Up to when, written likewise; up to the last moment that was ever asked for, if left out.
        fallbacks: Exchanges whose candles may fill what their own exchange does not give, such as coinbaseexchange,
            or kraken:BTC/USD where the symbol is another; of the same base, quote and units. They are named as such.
    """
    names = [FallbackName.parse(text) for text in fallbacks or ()]
    await check_database()
    due = due_by_exchange(await asked_gaps(exchange, symbol, dataset, timeframe, start, end))
    async with asyncio.TaskGroup() as group:
        runs = [group.create_task(_repair(exchange_id, gaps, names)) for exchange_id, gaps in due.items()]
    reports = [report for run in runs for report in repair_reports(run.result())]
    await publish_repair(reports)
    if any(report.is_written for report in reports):
        await refresh_derived()
    raise_failures(reports)


async def _repair(exchange_id: str, gaps: Sequence[Gap], names: Sequence[FallbackName]) -> ExchangeRepair:
    slots = {slot_name(exchange_id, gap.series.dataset, of_history=True) for gap in gaps}
    async with only_run(slots):
        return await repair(exchange_id, gaps, names)


@click.command()
@click.option("--exchange", help="Only series of this exchange.")
@click.option("--symbol", help="Only series of this symbol.")
@click.option("--start", help="From when on: 7d ago, a date, a time with zone.")
@click.option("--end", help="Up to when, written likewise.")
@click.option(
    "--fallback", "fallbacks", multiple=True, help="An exchange whose candles may fill gaps; may be repeated."
)
def command(
    exchange: str | None, symbol: str | None, start: str | None, end: str | None, fallbacks: tuple[str, ...]
) -> None:
    """Close gaps of stored series."""
    run_here(repair_gaps(exchange, symbol, start=start, end=end, fallbacks=list(fallbacks)))


if __name__ == "__main__":
    command()
