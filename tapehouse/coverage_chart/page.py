"""The coverage chart as one page of HTML that needs no network: inline SVG, dark where the reader's screen is.

A part's exact times stand in its tooltip, which without scripts is the browser's own.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Final

from tapehouse.coverage_chart.axis import ticks
from tapehouse.coverage_chart.palette import DARK, LIGHT
from tapehouse.lanes import MEANINGS, NOTHING, STATES, Lane, Lanes
from tapehouse.timeframe import from_us

_PLOT: Final = 1000.0
_ROW: Final = 22
_LANE: Final = 14
# At a lane's top, what else matters in a part.
_ALSO: Final = 5
_AXIS: Final = 26
_NUMBERS: Final = 110
_LETTER: Final = 7.2
_LEAST_WIDTH: Final = 1.2
_MOST_TICKS: Final = 9
_STEPS: Final = 1000
# A part takes about 150 bytes.
_MOST_PARTS: Final = 40_000

_STYLE: Final = """
:root { color-scheme: light dark; --ground: #fff; --text: #1f2328; --faint: #6a737d; --grid: #c9d0d8; LIGHT }
@media (prefers-color-scheme: dark) {
  :root { --ground: #14181d; --text: #e4e8ec; --faint: #97a1ac; --grid: #3b434d; DARK }
}
body { margin: 24px; background: var(--ground); color: var(--text); font: 14px/1.4 system-ui, sans-serif; }
main { max-width: 1400px; margin: auto; }
h1 { font-size: 20px; margin: 0; }
p { margin: 4px 0 12px; color: var(--faint); }
ul { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 0 0 12px; padding: 0; list-style: none; }
li::before { content: ""; display: inline-block; width: 12px; height: 12px; border-radius: 2px; margin-right: 6px;
  vertical-align: -1px; background: var(--state); }
svg { display: block; width: 100%; height: auto; }
text { fill: var(--text); font-size: 12px; }
.exchange { font-weight: 600; }
.number, .time { fill: var(--faint); font-size: 11px; }
.number { text-anchor: end; font-variant-numeric: tabular-nums; }
.time { text-anchor: middle; }
.axis { position: sticky; top: 0; background: var(--ground); }
.grid { stroke: var(--grid); stroke-opacity: .6; }
.also { pointer-events: none; }
#tip { position: fixed; pointer-events: none; padding: 6px 10px; border-radius: 6px; white-space: pre-line;
  max-width: 420px; background: var(--text); color: var(--ground); font-size: 12px; }
"""
_SCRIPT: Final = """
const tip = document.getElementById("tip");
document.addEventListener("pointermove", event => {
  const part = event.target.closest("g[data-name] rect");
  tip.hidden = !part;
  if (!part) return;
  const title = part.querySelector("title");
  if (title) { part.dataset.tip = title.textContent; title.remove(); }
  tip.textContent = part.parentNode.dataset.name + "\\n" + part.dataset.tip;
  tip.style.left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8) + "px";
  tip.style.top = Math.min(event.clientY + 16, innerHeight - tip.offsetHeight - 8) + "px";
});
"""
_CLASSES: Final = {state: f"s{place}" for place, state in enumerate(STATES)}


def save_page(lanes: Lanes, path: Path, *, title: str) -> None:
    """Draw the lanes, under the names of their exchanges, into an HTML file."""
    shown = lanes.merged(_STEPS, most_parts=_MOST_PARTS)
    path.write_text("\n".join(_page(shown, title)) + "\n", encoding="utf-8")


def _page(lanes: Lanes, title: str) -> Iterator[str]:
    left = _LETTER * max((len(lane.name) + 2 for lane in lanes.lanes), default=0) + 8
    yield "<!doctype html>"
    yield f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
    yield '<meta name="viewport" content="width=device-width">'
    yield f"<style>{_style()}</style></head><body><main>"
    yield f"<h1>{escape(title)}</h1>"
    yield f"<p>{_time(from_us(lanes.start_us))} to {_time(from_us(lanes.end_us))} UTC, {len(lanes.lanes):,} series</p>"
    yield from _legend(lanes)
    yield from _axis(lanes, left)
    yield from _lanes(lanes, left)
    yield '</main><div id="tip" hidden></div>'
    yield f"<script>{_SCRIPT}</script></body></html>"


def _style() -> str:
    colors = (
        " ".join(f"--{name}: {color};" for name, color in zip(_CLASSES.values(), palette.values(), strict=True))
        for palette in (LIGHT, DARK)
    )
    light, dark = colors
    fills = "\n".join(f".{name} {{ fill: var(--{name}); --state: var(--{name}); }}" for name in _CLASSES.values())
    return _STYLE.replace("LIGHT", light).replace("DARK", dark) + fills


def _legend(lanes: Lanes) -> Iterator[str]:
    present = {place for lane in lanes.lanes for place in (*lane.parts.state.tolist(), *lane.parts.also.tolist())}
    yield "<ul>"
    for place, (state, meaning) in enumerate(MEANINGS.items()):
        if place in present:
            yield f'<li class="{_CLASSES[state]}">{meaning}</li>'
    yield "</ul>"


def _axis(lanes: Lanes, left: float) -> Iterator[str]:
    yield f'<div class="axis"><svg viewBox="0 0 {left + _PLOT + _NUMBERS:.0f} {_AXIS}" aria-hidden="true">'
    for x, text in _ticks(lanes, left):
        yield f'<text class="time" x="{x:.1f}" y="16">{text}</text>'
    yield f'<text class="number" x="{left + _PLOT + _NUMBERS - 4:.0f}" y="16">rows</text></svg></div>'


def _lanes(lanes: Lanes, left: float) -> Iterator[str]:
    grouped = [(exchange, list(some)) for exchange, some in groupby(lanes.lanes, key=lambda lane: lane.exchange)]
    height = _ROW * (len(lanes.lanes) + len(grouped))
    label = f"Coverage of {len(lanes.lanes)} series over time"
    yield f'<svg viewBox="0 0 {left + _PLOT + _NUMBERS:.0f} {height + 4}" role="img" aria-label="{label}">'
    top = 0
    for exchange, some in grouped:
        yield f'<text class="exchange" x="0" y="{top + 16}">{escape(exchange)}</text>'
        for lane in some:
            top += _ROW
            yield from _lane(lanes, lane, left, top)
        top += _ROW
    for x, _ in _ticks(lanes, left):
        yield f'<path class="grid" d="M{x:.1f} 0v{height}" pointer-events="none"/>'
    yield "</svg>"


def _lane(lanes: Lanes, lane: Lane, left: float, top: int) -> Iterator[str]:
    name = f"{lane.exchange} {lane.name}{' (sandbox)' if lane.from_sandbox else ''}"
    yield f'<g transform="translate({left:.1f} {top})" data-name="{escape(name)}">'
    yield f'<text x="{12 - left:.1f}" y="15">{escape(lane.name)}</text>'
    yield f'<text class="number" x="{_PLOT + _NUMBERS - 4:.0f}" y="15">{lane.rows:,}</text>'
    parts = lane.parts
    bounds = ((parts.bounds_us - lanes.start_us) * (_PLOT / (lanes.end_us - lanes.start_us))).tolist()
    # Long ones first, so that none covers a short one.
    for place in sorted(range(len(parts)), key=lambda place: bounds[place] - bounds[place + 1]):
        yield _part(lane, place, bounds[place], max(bounds[place + 1] - bounds[place], _LEAST_WIDTH))
    yield "</g>"


def _part(lane: Lane, place: int, x: float, width: float) -> str:
    parts = lane.parts
    box = f'x="{x:.1f}" width="{width:.1f}" y="4"'
    drawn = f'<rect class="s{parts.state[place]}" {box} height="{_LANE}"><title>{_tip(lane, place)}</title></rect>'
    if parts.also[place] == NOTHING:
        return drawn
    return f'{drawn}<rect class="s{parts.also[place]} also" {box} height="{_ALSO}"/>'


def _tip(lane: Lane, place: int) -> str:
    parts = lane.parts
    start, end = (from_us(int(parts.bounds_us[place + one])) for one in (0, 1))
    told = MEANINGS[STATES[parts.state[place]]]
    if parts.also[place] != NOTHING:
        also = MEANINGS[STATES[parts.also[place]]]
        told = f"{told} ({100 * parts.share[place]:.3g} %) and {also}, in {parts.pieces[place]:,} pieces"
    return f"{told}\n{_time(start)} to {_time(end)} ({_length(end - start)})"


def _ticks(lanes: Lanes, left: float) -> Iterator[tuple[float, str]]:
    """Where the ticks are on the page, and what they say."""
    for time_us, text in ticks(lanes.start_us, lanes.end_us, most=_MOST_TICKS):
        yield left + _PLOT * (time_us - lanes.start_us) / (lanes.end_us - lanes.start_us), text


def _time(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S}" if time.second or time.microsecond else f"{time:%Y-%m-%d %H:%M}"


def _length(length: timedelta) -> str:
    """A length of time in its two largest units."""
    minutes, seconds = divmod(round(length.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    units = [
        f"{count} {unit}" for count, unit in ((days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s")) if count
    ]
    return " ".join(units[:2]) or "0 s"
