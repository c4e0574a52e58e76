"""The flow that brings series of trades up to date: `python -m flows.ingest_trades [EXCHANGE SYMBOL ...]`."""

from typing import Annotated, Final

import click
from prefect import flow
from prefect.runtime import flow_run
from pydantic import Field

from flows.command import named_symbols, run_here
from flows.derived import refresh_derived
from flows.markets import Markets, named
from flows.series import asked_range, ingest_requests
from tapehouse.ingest import MAX_REJECT_SHARE, TradeRequest
from tasks.load import check_database
from tasks.report import INGEST_TRADES_KEY, SeriesReport, publish_ingest, raise_failures

_MARKETS: Final = [Markets(exchange="binance", symbols=["BTC/USDT", "ETH/USDT"])]


def _run_name() -> str:
    return f"trades {named(flow_run.parameters['markets'])}"


@flow(name="ingest-trades", flow_run_name=_run_name, persist_result=False)
async def ingest_trades(
    markets: list[Markets] = _MARKETS,
    since: str = "1h",
    until: str | None = None,
    max_reject_share: Annotated[float, Field(ge=0, le=1)] = MAX_REJECT_SHARE,
) -> list[SeriesReport]:
    """Fetch the trades that are missing, and those of the last seconds again, since exchanges may list them late.

    Some exchanges give their recent trades only: what lies before is counted as refused. One series that fails
    does not stop the others; the run then fails at its end, naming it.

    Args:
        markets: What to fetch: exchanges and their symbols.
        since: From when on: 30m, 12h or 2d ago, a UTC date such as 2025-05-01, or a time with its zone
            such as 2025-05-01T12:30:00Z. What is stored already is not fetched again.
        until: Up to when, written likewise; up to now if left out.
        max_reject_share: A series fails when a larger share of a batch's trades has to be rejected, 0 to 1.
    """
    start, end = asked_range(since, until)
    await check_database()
    asked = [(one.exchange, TradeRequest(symbol, start, end)) for one in markets for symbol in one.symbols]
    reports = await ingest_requests(asked, max_reject_share=max_reject_share)
    await publish_ingest(INGEST_TRADES_KEY, reports)
    if any(report.is_derived_from for report in reports):
        await refresh_derived()
    raise_failures(reports)
    return reports


@click.command()
@click.argument("exchange", required=False)
@click.argument("symbols", metavar="[SYMBOL]...", nargs=-1)
@click.option("--since", default="1h", show_default=True, help="From when on: 30m or 2d ago, a date, a time with zone.")
@click.option("--until", help="Up to when, written likewise; now if left out.")
def command(exchange: str | None, symbols: tuple[str, ...], since: str, until: str | None) -> None:
    """Fetch missing trades of an exchange's symbols; without names, of those of the flow's form."""
    markets = [Markets(exchange=exchange, symbols=named_symbols(exchange, symbols))] if exchange else _MARKETS
    run_here(ingest_trades(markets, since, until))


if __name__ == "__main__":
    command()
