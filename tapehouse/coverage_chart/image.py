"""The coverage chart as a PNG, with matplotlib; nothing here needs a screen."""

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from tapehouse.coverage_chart.axis import ticks
from tapehouse.coverage_chart.palette import LIGHT
from tapehouse.errors import needs_extra
from tapehouse.lanes import MEANINGS, NOTHING, STATES, Lane, Lanes
from tapehouse.timeframe import from_us

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DPI: Final = 120
_WIDTH_INCHES: Final = 13.0
_ABOVE_INCHES: Final = 0.8
_BELOW_INCHES: Final = 1.1
_RIGHT_INCHES: Final = 1.1
_LETTER_INCHES: Final = 0.085
_ROW_INCHES: Final = 0.26
# With many lanes the picture would become higher than viewers and memory like.
_MOST_INCHES: Final = 100.0
_MOST_TICKS: Final = 9
_POINTS: Final = 9.0
# Of a row: the rest is the space between two.
_LANE_SHARE: Final = 0.7
# Of a lane: at its top, what else matters in a part.
_ALSO_SHARE: Final = 0.4
_STEPS: Final = 1000
_MOST_PARTS: Final = 40_000
# Of the window: what is shorter would not be seen.
_LEAST_SHARE: Final = 1 / 900


def save_image(lanes: Lanes, path: Path, *, title: str) -> None:
    """Draw the lanes, under the names of their exchanges, into a PNG file; raises MissingExtra without matplotlib."""
    with needs_extra("Charts need", "matplotlib", extra="chart"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

    shown = lanes.merged(_STEPS, most_parts=_MOST_PARTS)
    rows = _rows(shown)
    row_inches = min(_ROW_INCHES, _MOST_INCHES / len(rows))
    points = _POINTS * row_inches / _ROW_INCHES
    left = 0.3 + _LETTER_INCHES * points / _POINTS * max(len(_name(row)) for row in rows)
    height = _ABOVE_INCHES + row_inches * len(rows) + _BELOW_INCHES
    figure = Figure(figsize=(_WIDTH_INCHES, height), dpi=_DPI)
    # Finding room for all texts by itself, matplotlib would lay out hundreds of them several times.
    width = (_WIDTH_INCHES - left - _RIGHT_INCHES) / _WIDTH_INCHES
    axes = figure.add_axes(
        (left / _WIDTH_INCHES, _BELOW_INCHES / height, width, row_inches * len(rows) / height), label="lanes"
    )
    _draw_lanes(axes, shown, rows)
    _draw_names(axes, rows, points)
    _draw_time(axes, shown)
    _draw_legend(axes, shown)
    axes.set_title(title, loc="left", fontweight="bold", pad=34, parse_math=False)
    FigureCanvasAgg(figure).print_png(path)


def _rows(lanes: Lanes) -> list[str | Lane]:
    """What stands below each other: an exchange's name, then its lanes."""
    grouped = groupby(lanes.lanes, key=lambda lane: lane.exchange)
    return [row for exchange, some in grouped for row in (exchange, *some)]


def _draw_lanes(axes: "Axes", lanes: Lanes, rows: list[str | Lane]) -> None:
    from matplotlib.collections import PolyCollection

    boxes = [_boxes(lanes, row, place) for place, row in enumerate(rows) if isinstance(row, Lane)]
    corners, states = (np.concatenate(some) for some in zip(*boxes, strict=True))
    palette = np.array([LIGHT[state] for state in STATES])
    axes.add_collection(PolyCollection(list(corners), facecolors=palette[states].tolist(), linewidths=0))
    axes.set_xlim(0, 1)
    axes.set_ylim(len(rows) - 0.5, -0.5)


def _boxes(lanes: Lanes, lane: Lane, place: int) -> tuple[np.ndarray, np.ndarray]:
    """The corners of a lane's boxes, shape (n, 4, 2), and their states; what must not be covered comes last."""
    parts, length_us = lane.parts, lanes.end_us - lanes.start_us
    bounds = (parts.bounds_us - lanes.start_us) / length_us
    left, right = bounds[:-1], np.maximum(bounds[1:], bounds[:-1] + _LEAST_SHARE)
    top, bottom = place - _LANE_SHARE / 2, place + _LANE_SHARE / 2
    long_first = np.argsort(bounds[:-1] - bounds[1:], kind="stable")
    has_more = np.flatnonzero(parts.also != NOTHING)
    whole = _corners(left[long_first], right[long_first], top, bottom)
    more = _corners(left[has_more], right[has_more], top, top + _ALSO_SHARE * _LANE_SHARE)
    return np.concatenate([whole, more]), np.concatenate([parts.state[long_first], parts.also[has_more]])


def _corners(left: np.ndarray, right: np.ndarray, top: float, bottom: float) -> np.ndarray:
    above, below = np.full(len(left), top), np.full(len(left), bottom)
    columns = [(left, above), (right, above), (right, below), (left, below)]
    return np.stack([np.column_stack(one) for one in columns], axis=1)


def _name(row: str | Lane) -> str:
    return row.name if isinstance(row, Lane) else row


def _draw_names(axes: "Axes", rows: list[str | Lane], points: float) -> None:
    axes.set_yticks(range(len(rows)), labels=[_name(row) for row in rows], fontsize=points)
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_parse_math(False)
        label.set_fontweight("normal" if isinstance(row, Lane) else "bold")
    for place, row in enumerate(rows):
        if isinstance(row, Lane):
            axes.text(1.005, place, f"{row.rows:,}", fontsize=points, va="center", color="#5c6773")
    axes.tick_params(axis="y", length=0)
    axes.spines[:].set_visible(False)


def _draw_time(axes: "Axes", lanes: Lanes) -> None:
    found = ticks(lanes.start_us, lanes.end_us, most=_MOST_TICKS)
    places = [(time_us - lanes.start_us) / (lanes.end_us - lanes.start_us) for time_us, _ in found]
    axes.set_xticks(places, labels=[text for _, text in found], fontsize=_POINTS)
    axes.tick_params(axis="x", top=True, labeltop=True, labelbottom=True)
    axes.grid(axis="x", color="#c9d0d8", linewidth=0.6)
    axes.set_axisbelow(False)
    axes.text(1.005, 1.0, "rows", transform=axes.transAxes, fontsize=_POINTS, va="bottom", color="#5c6773")
    start, end = from_us(lanes.start_us), from_us(lanes.end_us)
    axes.set_xlabel(f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC", fontsize=_POINTS)


def _draw_legend(axes: "Axes", lanes: Lanes) -> None:
    from matplotlib.patches import Patch

    present = {place for lane in lanes.lanes for place in (*lane.parts.state.tolist(), *lane.parts.also.tolist())}
    handles = [
        Patch(color=LIGHT[state], label=meaning)
        for place, (state, meaning) in enumerate(MEANINGS.items())
        if place in present
    ]
    figure = axes.get_figure()
    assert figure is not None
    figure.legend(handles=handles, loc="lower center", ncols=5, frameon=False, fontsize=_POINTS)
