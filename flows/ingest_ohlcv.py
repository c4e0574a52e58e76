"""The flow that brings candle series up to date: `python -m flows.ingest_ohlcv [EXCHANGE SYMBOL ...]`."""

from typing import Annotated, Final, Literal, get_args

import click
from prefect import flow
from prefect.runtime import flow_run
from pydantic import Field

from flows.command import named_symbols, run_here
from flows.derived import refresh_derived
from flows.markets import Markets, named
from flows.series import asked_range, ingest_requests
from tapehouse.ingest import MAX_REJECT_SHARE, CandleRequest
from tapehouse.timeframe import timeframe as timeframe_named
from tasks.load import check_database
from tasks.report import INGEST_KEY, SeriesReport, publish_ingest, raise_failures

TimeframeName = Literal["1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "1w", "1M"]


class CandleMarkets(Markets):
    """Symbols of one exchange, and the length of their candles."""

    timeframe: TimeframeName | None = Field(default=None, description="Where it is not the one of the whole run.")


_MARKETS: Final = [CandleMarkets(exchange="binance", symbols=["BTC/USDT", "ETH/USDT"])]


def _run_name() -> str:
    asked = flow_run.parameters
    return f"{asked['timeframe']} {named(asked['markets'])}"


@flow(name="ingest-ohlcv", flow_run_name=_run_name, persist_result=False)
async def ingest_ohlcv(
    markets: list[CandleMarkets] = _MARKETS,
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
    start, end = asked_range(since, until)
    await check_database()
    asked = [
        (one.exchange, CandleRequest(symbol, timeframe_named(one.timeframe or timeframe), start, end))
        for one in markets
        for symbol in one.symbols
    ]
    reports = await ingest_requests(asked, max_reject_share=max_reject_share)
    await publish_ingest(INGEST_KEY, reports)
    if any(report.is_derived_from for report in reports):
        await refresh_derived()
    raise_failures(reports)
    return reports


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
    markets = _MARKETS
    if exchange:
        markets = [CandleMarkets(exchange=exchange, symbols=named_symbols(exchange, symbols))]
    run_here(ingest_ohlcv(markets, timeframe, since, until))


if __name__ == "__main__":
    command()
