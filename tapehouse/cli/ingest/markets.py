"""Which markets an ingest is about: the options --exchange and --symbol, and what may be given there."""

from collections.abc import Sequence

import click

from tapehouse.cli.options import Command
from tapehouse.errors import InputError


def market_options(command: Command) -> Command:
    """Add --exchange and --symbol."""
    command = click.option(
        "--symbol",
        "symbols",
        required=True,
        multiple=True,
        metavar="SYMBOL",
        help="BTC/USDT, BTC/USDT:USDT...; several with commas or by repeating the option.",
    )(command)
    return click.option(
        "--exchange", "exchange_id", required=True, metavar="NAME", help="The exchange, as ccxt names it."
    )(command)


def distinct_symbols(symbols: Sequence[str]) -> list[str]:
    """The symbols in the order given, none twice; raises InputError if there is none."""
    names = dict.fromkeys(name.strip() for given in symbols for name in given.split(",") if name.strip())
    if not names:
        raise InputError("No symbol was given: write --symbol BTC/USDT.")
    return list(names)
