"""Which markets an ingest is about: the options --exchange and --symbol, and what may be given there."""

from collections.abc import Sequence

import click

from tapehouse.cli.options import Command
from tapehouse.errors import InputError


def market_options(command: Command) -> Command:
    """Add --exchange, of which there may be one, and --symbol."""
    command = _symbol_option(command)
    return click.option(
        "--exchange", "exchange_id", required=True, metavar="NAME", help="The exchange, as ccxt names it."
    )(command)


def markets_options(command: Command) -> Command:
    """Add --exchange, of which there may be several, and --symbol."""
    command = _symbol_option(command)
    return click.option(
        "--exchange",
        "exchange_ids",
        required=True,
        multiple=True,
        metavar="NAME",
        help="The exchange, as ccxt names it; several with commas or by repeating the option.",
    )(command)


def distinct(given: Sequence[str], *, what: str, example: str) -> list[str]:
    """The names in the order given, none twice; raises InputError if there is none of what is meant."""
    names = dict.fromkeys(name.strip() for text in given for name in text.split(",") if name.strip())
    if not names:
        raise InputError(f"No {what} was given: write {example}.")
    return list(names)


def distinct_symbols(symbols: Sequence[str]) -> list[str]:
    """The symbols in the order given, none twice; raises InputError if there is none."""
    return distinct(symbols, what="symbol", example="--symbol BTC/USDT")


def _symbol_option(command: Command) -> Command:
    return click.option(
        "--symbol",
        "symbols",
        required=True,
        multiple=True,
        metavar="SYMBOL",
        help="BTC/USDT, BTC/USDT:USDT...; several with commas or by repeating the option.",
    )(command)
