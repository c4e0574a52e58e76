"""The flow that compares candles with trades: `python -m flows.compare_candles [--since 2d]`."""

import click
from prefect import flow
from prefect.runtime import flow_run

from flows.command import run_here
from flows.series import asked_range
from tapehouse.store.agreement import Agreement
from tasks.agreement import compare_candles as compare
from tasks.load import check_database
from tasks.report import publish_agreement


def _run_name() -> str:
    asked = flow_run.parameters
    about = " ".join(asked[name] for name in ("exchange", "symbol") if asked[name])
    return f"compare candles with trades since {asked['since']} {about}".rstrip()


@flow(name="compare-candles", flow_run_name=_run_name, persist_result=False)
async def compare_candles(
    exchange: str | None = None, symbol: str | None = None, since: str = "2d", until: str | None = None
) -> list[Agreement]:
    """Compare the exchanges' 1m candles with those that their trades make, and keep what differs.

    The run succeeds also where they differ: the table says in what, day by day.

    Args:
        exchange: Only markets of this exchange; of all if left out.
        symbol: Only this symbol; all if left out.
        since: The first UTC day: 12h or 7d ago, a date such as 2025-05-01, or a time with its zone.
        until: Up to when, written likewise; up to now if left out.
    """
    start, end = asked_range(since, until)
    await check_database()
    found = await compare(exchange, symbol, start, end)
    await publish_agreement(found)
    return found


@click.command()
@click.option("--exchange", help="Only markets of this exchange.")
@click.option("--symbol", help="Only this symbol.")
@click.option("--since", default="2d", show_default=True, help="The first UTC day: 7d ago, a date, a time with zone.")
@click.option("--until", help="Up to when, written likewise; now if left out.")
def command(exchange: str | None, symbol: str | None, since: str, until: str | None) -> None:
    """Compare stored candles with those that stored trades make."""
    run_here(compare_candles(exchange, symbol, since, until))


if __name__ == "__main__":
    command()
