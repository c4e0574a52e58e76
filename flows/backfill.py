"""The flow that fetches long ranges of history: `python -m flows.backfill [EXCHANGE SYMBOL ...]`."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Annotated, Final, Literal, get_args

import click
from prefect import flow
from prefect.runtime import flow_run
from pydantic import Field

from flows.command import named_symbols, run_here
from flows.derived import refresh_derived
from flows.ingest_ohlcv import CandleMarkets, TimeframeName
from flows.markets import named
from flows.series import asked_range, fetch_series, series_reports
from tapehouse.ingest import MAX_REJECT_SHARE, CandleRequest, SeriesRequest, TradeRequest
from tapehouse.ingest.progress import Standing, Tally
from tapehouse.timeframe import timeframe as timeframe_named
from tasks.derived import refresh_in_brief
from tasks.extract import plan_backfill
from tasks.load import check_database
from tasks.progress import progress_artifact
from tasks.report import BACKFILL_KEY, SeriesReport, publish_ingest, raise_failures

Dataset = Literal["ohlcv", "trade"]

_MARKETS: Final = [CandleMarkets(exchange="binance", symbols=["BTC/USDT", "ETH/USDT"])]


def _run_name() -> str:
    asked = flow_run.parameters
    what = "trades" if asked["dataset"] == "trade" else asked["timeframe"]
    return f"backfill {what} {named(asked['markets'])} from {asked['start']}"


@flow(name="backfill", flow_run_name=_run_name, persist_result=False)
async def backfill(
    markets: list[CandleMarkets] = _MARKETS,
    dataset: Dataset = "ohlcv",
    timeframe: TimeframeName = "1m",
    start: str = "52w",
    end: str | None = None,
    force: bool = False,
    max_reject_share: Annotated[float, Field(ge=0, le=1)] = MAX_REJECT_SHARE,
) -> list[SeriesReport]:
    """Fetch what is missing of long ranges of history, the newest block first; exchanges are asked side by side.

    Any range does: before, after or between what is stored. A run that was stopped or failed is continued by the
    next one. One series that fails does not stop the others; the run then fails at its end, naming it.

    Args:
        markets: What to fetch: exchanges and their symbols.
        dataset: Candles (ohlcv), or single trades (trade).
        timeframe: The candles' length.
        start: From when on: 30d or 52w ago, a UTC date such as 2025-05-01, or a time with its zone
            such as 2025-05-01T12:30:00Z. What lies before an exchange's first candle is found and not walked through.
        end: Up to when, written likewise; up to now if left out.
        force: Fetch also what retention would drop at its next run; else such a range is refused.
        max_reject_share: A series fails when a larger share of a batch's rows has to be rejected, 0 to 1.
    """
    since, until = asked_range(start, end)
    await check_database()

    def request(market: CandleMarkets, symbol: str) -> SeriesRequest:
        if dataset == "trade":
            return TradeRequest(symbol, since, until)
        return CandleRequest(symbol, timeframe_named(market.timeframe or timeframe), since, until)

    reports = series_reports((one.exchange, request(one, symbol)) for one in markets for symbol in one.symbols)
    try:
        async with _shown(reports) as tally:
            await fetch_series(
                reports,
                partial(plan_backfill, force=force),
                max_reject_share=max_reject_share,
                tell=tally.tell,
                of_history=True,
            )
    except asyncio.CancelledError:
        await refresh_in_brief()
        raise
    await publish_ingest(BACKFILL_KEY, reports)
    await refresh_derived()
    raise_failures(reports)
    return reports


@asynccontextmanager
async def _shown(reports: Sequence[SeriesReport]) -> AsyncGenerator[Tally[SeriesReport]]:
    """A tally whose progress Prefect shows, of each exchange and of all."""
    asked: dict[str, list[SeriesRequest]] = {}
    for report in reports:
        asked.setdefault(report.exchange_id, []).append(report.request)
    tally = Tally[SeriesReport](asked)
    sides = {exchange_id: partial(tally.of, exchange_id) for exchange_id in tally.exchange_ids} | {"total": tally.total}
    async with AsyncExitStack() as stack:
        for name, standing in sides.items():
            await stack.enter_async_context(progress_artifact(f"{BACKFILL_KEY}-{name}", partial(_look, name, standing)))
        yield tally


def _look(name: str, standing: Callable[[], Standing]) -> tuple[float, str]:
    now = standing()
    return 100 * now.share, f"{name} {now}"


@click.command()
@click.argument("exchange", required=False)
@click.argument("symbols", metavar="[SYMBOL]...", nargs=-1)
@click.option(
    "--dataset", type=click.Choice(get_args(Dataset)), default="ohlcv", show_default=True, help="Candles, or trades."
)
@click.option(
    "--timeframe",
    type=click.Choice(get_args(TimeframeName)),
    default="1m",
    show_default=True,
    help="The candles' length.",
)
@click.option(
    "--start", default="52w", show_default=True, help="From when on: 30d or 52w ago, a date, a time with zone."
)
@click.option("--end", help="Up to when, written likewise; now if left out.")
@click.option("--force", is_flag=True, help="Fetch also what retention would drop at its next run.")
def command(
    exchange: str | None,
    symbols: tuple[str, ...],
    dataset: Dataset,
    timeframe: TimeframeName,
    start: str,
    end: str | None,
    force: bool,
) -> None:
    """Fetch the history of an exchange's symbols; without names, of those of the flow's form."""
    markets = _MARKETS
    if exchange:
        markets = [CandleMarkets(exchange=exchange, symbols=named_symbols(exchange, symbols))]
    run_here(backfill(markets, dataset, timeframe, start, end, force))


if __name__ == "__main__":
    command()
