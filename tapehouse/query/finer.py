"""Slices in finer units, for values that the instrument's scale has no room for: as the store widens itself."""

from dataclasses import replace

import numpy as np

from tapehouse.candle import Float64Array
from tapehouse.query.slices import Slice
from tapehouse.store.ticks import MAX_TICKS, Scale, decimals_needed, most_decimals, to_ticks


def whole_ticks(values: Float64Array, decimals: int) -> Float64Array:
    """The values as whole multiples of 10^-decimals, infinite where they are none."""
    ticks = to_ticks(values, decimals)
    fit = (np.abs(ticks) < MAX_TICKS) & (ticks / 10.0**decimals == values)
    return ticks if fit.all() else np.where(fit, ticks, np.inf)


def finer_scale(rows: Slice, prices: Float64Array, amounts: Float64Array) -> Scale:
    """The scale of the slice, or one with more decimals where more of these values fit it beside the slice's."""
    scale, (largest_price, largest_amount) = rows.ledger.scale, _largest(rows)
    return Scale(
        _wider(prices, scale.price_decimals, largest_price), _wider(amounts, scale.amount_decimals, largest_amount)
    )


def in_scale(rows: Slice, scale: Scale) -> Slice:
    """The same in smaller ticks and lots: whole ones become whole ones."""
    was = rows.ledger.scale
    price = 10.0 ** (scale.price_decimals - was.price_decimals)
    amount = 10.0 ** (scale.amount_decimals - was.amount_decimals)
    trades, books = rows.trades, rows.books
    units = np.array([price, amount, price, amount])[:, np.newaxis]
    return replace(
        rows,
        ledger=replace(rows.ledger, scale=scale),
        bars=rows.bars.in_units(price, amount),
        trades=trades and replace(trades, price=trades.price * price, amount=trades.amount * amount),
        books=books and replace(books, levels=books.levels * units),
    )


def _wider(values: Float64Array, decimals: int, largest: float) -> int:
    """The decimals with which all those fit that can fit any, beside a value so large."""
    needed = decimals_needed(values, decimals)
    return int(max(needed[needed <= most_decimals(max(largest, float(values.max(initial=0))))], default=decimals))


def _largest(rows: Slice) -> tuple[float, float]:
    """The largest price and the largest amount, in ordinary units."""
    scale = rows.ledger.scale
    prices, amounts = rows.bars.largest()
    if rows.trades:
        prices, amounts = max(prices, rows.trades.price.max()), max(amounts, rows.trades.amount.max())
    if rows.books:
        levels = np.nan_to_num(rows.books.levels)
        prices, amounts = max(prices, levels[:, ::2].max(initial=0)), max(amounts, levels[:, 1::2].max(initial=0))
    return float(prices / 10.0**scale.price_decimals), float(amounts / 10.0**scale.amount_decimals)
