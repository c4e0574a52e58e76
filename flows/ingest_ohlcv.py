"""The flow that brings candle series up to date: `python -m flows.ingest_ohlcv [EXCHANGE SYMBOL ...]`."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final, Literal, get_args

import click
from prefect import flow
from prefect.runtime import flow_run
from pydantic import BaseModel, Field

from flows.command import run_here
from tapehouse.errors import TapehouseError
from tapehouse.ingest import MAX_REJECT_SHARE, SeriesRequest, ingest_each
from tapehouse.moments import moment
from tapehouse.timeframe import timeframe as timeframe_named
from tasks.connections import open_exchange
from tasks.extract import plan_candles
from tasks.load import check_database, ingest_candles
from tasks.report import SeriesReport, publish_ingest, publish_refresh, raise_failures
from tasks.rollups import refresh_rollups

TimeframeName = Literal["1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "1w", "1M"]


class Markets(BaseModel):
    """Symbols of one exchange."""

    exchange: str = Field(description="The exchange, by ccxt's name for it, for example binance.")
    symbols: list[str] = Field(min_length=1, description="Symbols as ccxt writes them: BTC/USDT, BTC/USDT:USDT.")
    timeframe: TimeframeName | None = Field(default=None, description="Where it is not the one of the whole run.")


_MARKETS: Final = [Markets(exchange="binance", symbols=["BTC/USDT", "ETH/USDT"])]


def _run_name() -> str:
    asked = flow_run.parameters
    names = [f"{one.exchange} {symbol}" for one in asked["markets"] for symbol in one.symbols]
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return f"{asked['timeframe']} {', '.join(names[:2])}{more}"


@flow(name="ingest-ohlcv", flow_run_name=_run_name, persist_result=False)
async def ingest_ohlcv(
    markets: list[Markets] = _MARKETS,
    timeframe: TimeframeName = "1m",
    since: str = "7d",
    until: str | None = None,
    max_reject_share: Annotated[float, Field(ge=0, le=1)] = MAX_REJECT_SHARE,
) -> list[SeriesReport]:
    """Fetch the candles that are missing, and the last few of each series again, since exchanges still correct them.

    One series that fails does not stop the others; the run then fails at its end, naming it.

    Args:
        markets: What to fetch: exchanges and their symbols.
        timeframe: The candles' length.
        since: From when on: 30m, 12h, 7d or 2w ago, a UTC date such as 2025-05-01, or a time with its zone
            such as 2025-05-01T12:30:00Z. What is stored already is not fetched again.
        until: Up to when, written likewise; up to now if left out.
        max_reject_share: A series fails when a larger share of a batch's candles has to be rejected, 0 to 1.
    """
    now = datetime.now(UTC)
    start, end = moment(since, now=now), moment(until, now=now) if until else None
    await check_database()
    async with asyncio.TaskGroup() as group:
        exchanges = [
            group.create_task(_ingest_exchange(exchange_id, requests, max_reject_share))
            for exchange_id, requests in _requests(markets, timeframe, start, end).items()
        ]
    reports = [report for exchange in exchanges for report in exchange.result()]
    await publish_ingest(reports)
    if any(report.touches_rollups for report in reports):
        await publish_refresh(await refresh_rollups())
    raise_failures(reports)
    return reports


def _requests(
    markets: Sequence[Markets], timeframe: TimeframeName, start: datetime, end: datetime | None
) -> dict[str, list[SeriesRequest]]:
    """What to ask of each exchange, no series twice."""
    requests: dict[str, dict[SeriesRequest, None]] = {}
    for one in markets:
        length = timeframe_named(one.timeframe or timeframe)
        for symbol in one.symbols:
            requests.setdefault(one.exchange, {})[SeriesRequest(symbol, length, start, end)] = None
    return {exchange: list(distinct) for exchange, distinct in requests.items()}


async def _ingest_exchange(
    exchange_id: str, requests: Sequence[SeriesRequest], max_reject_share: float
) -> list[SeriesReport]:
    """Ingest all series of one exchange, over one connection to it; what comes of each is in its report."""
    reports = {request: SeriesReport(exchange_id, request.symbol, request.timeframe.name) for request in requests}

    async def ingest(request: SeriesRequest, opening: asyncio.Lock) -> None:
        async with opening:
            series, plan = await plan_candles(exchange, request)
        report = reports[request]
        report.planned = sum(series.timeframe.count(*chunk) for chunk in plan.chunks)
        for chunk in plan.chunks:
            await ingest_candles(exchange, series, chunk, max_reject_share=max_reject_share, record=report.add)

    def end(request: SeriesRequest, error: Exception | None) -> None:
        reports[request].error = error

    try:
        async with open_exchange(exchange_id) as exchange:
            await ingest_each(requests, ingest, ended=end)
    except TapehouseError as error:
        for report in reports.values():
            report.error = error
    return list(reports.values())


@click.command()
@click.argument("exchange", required=False)
@click.argument("symbols", metavar="[SYMBOL]...", nargs=-1)
@click.option(
    "--timeframe",
    type=click.Choice(get_args(TimeframeName)),
    default="1m",
    show_default=True,
    help="The candles' length.",
)
@click.option("--since", default="7d", show_default=True, help="From when on: 12h or 7d ago, a date, a time with zone.")
@click.option("--until", help="Up to when, written likewise; now if left out.")
def command(
    exchange: str | None, symbols: tuple[str, ...], timeframe: TimeframeName, since: str, until: str | None
) -> None:
    """Fetch missing candles of an exchange's symbols; without names, of those of the flow's form."""
    if exchange and not symbols:
        raise click.UsageError(f"Name symbols of {exchange} too, for example BTC/USDT.")
    markets = [Markets(exchange=exchange, symbols=list(symbols))] if exchange else _MARKETS
    run_here(ingest_ohlcv(markets, timeframe, since, until))


if __name__ == "__main__":
    command()
