"""`tapehouse instruments`: the markets that are stored, and bringing them up to date from an exchange."""

from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import click

from tapehouse.cli.options import database_option, exchange_options, json_option, open_database, usable_database
from tapehouse.cli.output import Column, print_json, print_table, records, remark, with_origin
from tapehouse.cli.venue import exchange_address, require_exchange_name
from tapehouse.errors import InputError, UnknownSymbol

if TYPE_CHECKING:
    from tapehouse.store.instruments import SyncResult

_EPILOG: Final = """\b
Examples:
  tapehouse instruments --sync binance
  tapehouse instruments --exchange binance --active
  tapehouse instruments --exchange kraken --json
  tapehouse instruments --sandbox --sync kraken
  tapehouse instruments --changes
"""
_COLUMNS: Final = (
    Column("exchange"),
    Column("symbol"),
    Column("kind"),
    Column("active"),
    Column("tick size", align="right"),
    Column("lot size", align="right"),
    Column("contract size", align="right"),
    Column("candles in"),
    Column("trades in"),
    Column("origin"),
    Column("last seen (UTC)"),
)
_SHOWN: Final = (
    "exchange",
    "symbol",
    "kind",
    "active",
    "tick_size",
    "lot_size",
    "contract_size",
    "amount_unit",
    "trade_unit",
    "origin",
    "last_seen_at",
)
_CHANGE_COLUMNS: Final = tuple(map(Column, ("exchange", "symbol", "what", "before", "after", "changed (UTC)")))


@click.command(epilog=_EPILOG)
@click.option("--exchange", metavar="NAME", help="Only instruments of this exchange.")
@click.option("--active", is_flag=True, help="Only instruments that the exchange still lists.")
@click.option("--sync", metavar="NAME", help="First ask this exchange what it lists, then show that.")
@click.option("--changes", is_flag=True, help="Show what exchanges changed: delistings, precision, units.")
@exchange_options
@database_option
@json_option
def instruments(
    *,
    exchange: str | None,
    active: bool,
    sync: str | None,
    changes: bool,
    sandbox: bool,
    exchange_url: str | None,
    url: str | None,
    as_json: bool,
) -> None:
    """Show the stored instruments.

    What an exchange no longer lists is kept, and shown as not active. Volumes of candles, and amounts of
    trades and order books, count base units or contracts: the table says which. What is stored keeps its
    numbers whatever precision an exchange announces.
    """
    if changes and active:
        raise InputError("--changes tells of delistings too: leave --active out.")

    from tapehouse.query.market import MarketData

    if sync is not None:
        with exchange_address(sync, sandbox=sandbox, exchange_url=exchange_url) as base_url:
            _tell(_sync(sync, url=url, base_url=base_url))
    if changes:
        _show_changes(exchange or sync, url=url, as_json=as_json)
        return
    found: list[dict[str, Any]] = []
    with MarketData.connect(usable_database(url)) as market, suppress(UnknownSymbol):
        found = records(market.instruments(exchange or sync))
    if not found:
        require_exchange_name(exchange)
    shown = [one for one in found if one["active"] or not active]
    if as_json:
        print_json({"instruments": shown})
    elif shown:
        print_table(_COLUMNS, ([one[name] for name in _SHOWN] for one in map(with_origin, shown)))
    elif exchange:
        sync_it = f"tapehouse instruments --sync {exchange}{' --sandbox' if sandbox else ''}"
        remark(f"No instruments of {exchange} are stored: `{sync_it}` asks for them.")
    else:
        remark("No instruments are stored: `tapehouse instruments --sync NAME` asks an exchange for its own.")


def _sync(exchange_id: str, *, url: str | None, base_url: str | None) -> "SyncResult":
    import asyncio

    from tapehouse.ingest import sync_instruments
    from tapehouse.ingest.venue import open_shared_exchange
    from tapehouse.store.address import database_url

    address = database_url(url)

    async def run() -> "SyncResult":
        async with open_shared_exchange(exchange_id, address, base_url=base_url) as exchange:
            return await sync_instruments(exchange, connection)

    # Closed only after the event loop's threads have ended, since these write through it.
    with open_database(address) as connection:
        return asyncio.run(run())


def _tell(result: "SyncResult") -> None:
    remark(f"{result.exchange} lists {result.listed:,} instruments, {len(result.new):,} of them new to the store.")
    if result.delisted:
        remark(f"No longer traded: {', '.join(result.delisted)}.")
    if result.relisted:
        remark(f"Traded again: {', '.join(result.relisted)}.")
    if result.changed:
        remark(f"Changed: {', '.join(map(str, result.changed))}.")


def _show_changes(exchange: str | None, *, url: str | None, as_json: bool) -> None:
    from tapehouse.store.instruments import read_listing_changes

    with open_database(url) as connection:
        found = read_listing_changes(connection, exchange)
    if not found:
        require_exchange_name(exchange)
    if as_json:
        print_json({"changes": [asdict(one) for one in found]})
    elif found:
        print_table(_CHANGE_COLUMNS, (list(asdict(one).values()) for one in found))
    else:
        remark("No exchange has changed anything about a market since it was first stored.")
