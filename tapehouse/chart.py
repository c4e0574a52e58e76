"""A candlestick chart of a frame of candles, as a PNG.

Only the picture belongs here; which candles to draw, and telling where the file is, are the
caller's business. Nothing here needs a screen.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from tapehouse.errors import InputError, needs_extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_UP: Final = "#1b8a5a"
_DOWN: Final = "#c0392b"
_GRID: Final = "#dddddd"
_SIZE_INCHES: Final = (12, 6.75)
_DPI: Final = 120
# Of a candle's length: the rest is the space between two.
_BODY_SHARE: Final = 0.7


def save_candlesticks(candles: pd.DataFrame, path: Path, *, title: str) -> None:
    """Draw candles, prices above and volume below, into a PNG file.

    `candles` is a frame as `MarketData.candles` gives it, with two rows at least. Raises
    InputError for fewer, MissingExtra without matplotlib.
    """
    if len(candles) < 2:
        raise InputError(f"A chart needs two candles, there are {len(candles)}: ask for a longer range.")
    with needs_extra("Charts need", "matplotlib", extra="chart"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
        from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE_INCHES, dpi=_DPI, layout="constrained")
    price, volume = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    _draw_prices(price, candles)
    _draw_volumes(volume, candles)
    price.set_title(title, loc="left", fontweight="bold")
    locator = AutoDateLocator()
    volume.xaxis.set_major_locator(locator)
    volume.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    volume.set_xlabel("UTC")
    FigureCanvasAgg(figure).print_png(path)


def _draw_prices(axes: "Axes", candles: pd.DataFrame) -> None:
    days, width = _days(candles)
    colors = _colors(candles)
    bottom = candles[["open", "close"]].min(axis="columns").to_numpy()
    height = (candles["close"] - candles["open"]).abs().to_numpy()
    axes.vlines(days, candles["low"].to_numpy(), candles["high"].to_numpy(), colors=colors, linewidth=0.8)
    # A candle that closed where it opened is drawn as a line.
    axes.bar(days, height, width, bottom, color=colors, edgecolor=colors, linewidth=0.8)
    _tidy(axes, "price")


def _draw_volumes(axes: "Axes", candles: pd.DataFrame) -> None:
    days, width = _days(candles)
    axes.bar(days, candles["volume"].to_numpy(), width, color=_colors(candles), alpha=0.6)
    _tidy(axes, "volume")


def _tidy(axes: "Axes", label: str) -> None:
    axes.set_ylabel(label)
    axes.grid(visible=True, color=_GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.01)


def _days(candles: pd.DataFrame) -> "tuple[np.ndarray, float]":
    """The middles of the candles in days since 1970, matplotlib's own unit, and the width of a body."""
    opened = pd.DatetimeIndex(candles.index).tz_convert("UTC").tz_localize(None).to_numpy()
    days = opened.astype("datetime64[us]").astype(np.int64) / 86_400e6
    # Where candles are missing the distance is longer, so the shortest one is a candle's length.
    length = float(np.diff(days).min())
    return days + length / 2, length * _BODY_SHARE


def _colors(candles: pd.DataFrame) -> list[str]:
    return [_UP if is_up else _DOWN for is_up in (candles["close"] >= candles["open"]).tolist()]
