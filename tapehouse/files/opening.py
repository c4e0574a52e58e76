"""The series that an understood file is imported into, and its instrument, which may be new to the store."""

from contextlib import suppress
from dataclasses import replace

from tapehouse.errors import InputError, UnknownSymbol
from tapehouse.files.markets import listing_of_symbol
from tapehouse.files.understanding import Understanding
from tapehouse.instrument import Instrument
from tapehouse.store.connection import Connection
from tapehouse.store.instruments import (
    CandleSeries,
    TradeSeries,
    add_instrument,
    ensure_candle_series,
    ensure_trade_series,
    find_instrument,
    require_origin,
)


def open_series(connection: Connection, file: Understanding) -> CandleSeries | TradeSeries:
    """The series to import into, known to the store from then on.

    Raises MixedOrigins where the store has the exchange from elsewhere, InputError where amounts count other units,
    or may do so.
    """
    instrument = _instrument(connection, file)
    if file.timeframe is not None:
        return ensure_candle_series(connection, instrument, file.timeframe)
    return ensure_trade_series(connection, instrument)


def _instrument(connection: Connection, file: Understanding) -> Instrument:
    require_origin(connection, file.exchange, from_sandbox=file.from_sandbox)
    with suppress(UnknownSymbol):
        known = find_instrument(connection, file.exchange, file.symbol)
        unit = known.amount_unit if file.dataset == "ohlcv" else known.trade_unit
        if file.amount_unit not in (None, unit):
            raise InputError(
                f"{known.exchange} {known.symbol} is stored in {unit} units, and {file.path.name} counts "
                f"{file.amount_unit} units: convert its amounts, or import it into another database."
            )
        # Binance's own files count what its API does, from which the store has the instrument.
        if unit == "contract" and known.contract_size != 1 and not file.layout.is_binance:
            _require_amount_unit(file, f"as those of {known.symbol} in the store do", known.base)
        return known
    if file.table.label is not None:
        return add_instrument(connection, file.table.label.listing)
    listing = listing_of_symbol(file.exchange, file.symbol, file.amount_unit or "base")
    if listing.settle == listing.base:
        _require_amount_unit(file, f"as they mostly do where {listing.base} settles", listing.base)
    return add_instrument(connection, replace(listing, from_sandbox=file.from_sandbox))


def _require_amount_unit(file: Understanding, why: str, base: str) -> None:
    """Refuse amounts that nobody says the unit of, where they may count contracts."""
    if file.amount_unit is None:
        raise InputError(
            f"Nothing tells whether the amounts of {file.path.name} count contracts, {why}, or {base}: say it with "
            "--amount-unit contract or base."
        )
