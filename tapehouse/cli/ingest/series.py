"""Ranges of several series fetched: run, shown, and failures reported; what to fetch and how is each command's."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tapehouse.cli.derived import Derived, refresh_derived, tell_derived
from tapehouse.cli.failures import report_each
from tapehouse.cli.output import Column, print_json, print_table, remark, utc_text
from tapehouse.cli.typed import same_command
from tapehouse.cli.venue import exchange_address

if TYPE_CHECKING:
    from datetime import datetime

    from tapehouse.ingest import Outcome, SeriesRequest, Watcher
    from tapehouse.ingest.progress import Tally

    # Fetches through that address, None being the exchanges' own, and tells the watcher how it gets on.
    Fetch = Callable[[str | None, Watcher], Sequence[Outcome]]

_COUNTS: Final = ("fetched", "inserted", "changed", "unchanged", "rejected", "refused", "failed")
_REFRESH: Final = "tapehouse refresh"
_COLUMNS: Final = (
    *(Column(name) for name in ("exchange", "symbol", "data")),
    *(Column(name, align="right") for name in ("planned", *_COUNTS, "seconds")),
    Column(""),
)


@dataclass(frozen=True, slots=True)
class History:
    """What to fetch of each exchange; `header` is said before anything is asked."""

    requests: "Mapping[str, Sequence[SeriesRequest]]"
    header: str


def fetch_history(
    history: History, fetch: "Fetch", *, database_url: str, sandbox: bool, exchange_url: str | None, as_json: bool
) -> None:
    """Fetch it, refresh what is derived from it, and show what came; exits with the worst failure's code."""
    with exchange_address(*history.requests, sandbox=sandbox, exchange_url=exchange_url) as base_url:
        outcomes = _fetch(history, fetch, base_url, as_json=as_json)
    derived = Derived()
    try:
        if any(_is_derived_from(one.request) for one in outcomes):
            derived = refresh_derived(database_url)
    except KeyboardInterrupt:
        remark(f"Stopped. All rows are stored; to go on refreshing rollups and features: {_REFRESH}.")
        raise
    finally:
        _show(outcomes, derived, as_json=as_json)
    report_each((f"{one.exchange_id} {one.request}", one.error) for one in outcomes)


def _fetch(history: History, fetch: "Fetch", base_url: str | None, *, as_json: bool) -> "Sequence[Outcome]":
    tally: Tally[Outcome] | None = None
    try:
        remark(history.header)
        # These take a second or more, in which Ctrl-C is to be answered too.
        from tapehouse.cli.progress import progress
        from tapehouse.ingest import progress as counting

        tally = counting.Tally(history.requests)
        with progress(tally) as watcher:
            return fetch(base_url, watcher)
    except KeyboardInterrupt:
        _tell_stopped(tally.told if tally else [], as_json=as_json)
        raise


def _tell_stopped(outcomes: "Sequence[Outcome]", *, as_json: bool) -> None:
    """Say what was stored, and how to go on."""
    if outcomes or as_json:
        _show(outcomes, Derived(), as_json=as_json)
    stored = sum(one.result.inserted + one.result.changed for one in outcomes)
    remark(f"Stopped. What was stored stays: {stored:,} rows. To go on: {same_command()}")
    if stored and any(_is_derived_from(one.request) for one in outcomes):
        remark(f"That also refreshes the rollups and features over these rows, as does {_REFRESH}.")


def _is_derived_from(request: "SeriesRequest") -> bool:
    """Whether rollups or features are built from it: from base candles and from trades."""
    from tapehouse.ingest import CandleRequest
    from tapehouse.store.rollups import BASE_TIMEFRAME

    return not isinstance(request, CandleRequest) or request.timeframe == BASE_TIMEFRAME


def _show(outcomes: "Sequence[Outcome]", derived: Derived, *, as_json: bool) -> None:
    if as_json:
        print_json({"series": [_as_json(one) for one in outcomes], **derived.as_json()})
        return
    starts, ends = zip(*map(_asked, outcomes), strict=True)
    title = f"{utc_text(min(starts))} to {'now' if None in ends else utc_text(max(ends))} UTC"
    print_table(_COLUMNS, (_row(one) for one in outcomes), title=title)
    for outcome in outcomes:
        if outcome.result.refused:
            remark(
                f"{outcome.exchange_id} {outcome.request}: the exchange gives only what is recent; it refused the "
                "earlier part of the range, which stays uncovered."
            )
    tell_derived(derived, remark)


def _row(outcome: "Outcome") -> list[object]:
    from tapehouse.ingest import CandleRequest
    from tapehouse.ingest.progress import length_text, planned_candles

    request = outcome.request
    planned = planned_candles(request, outcome.plan)
    if planned is None and outcome.plan:
        planned = length_text(outcome.plan.seconds)
    return [
        outcome.exchange_id,
        request.symbol,
        request.timeframe.name if isinstance(request, CandleRequest) else "trades",
        planned,
        *(getattr(outcome.result, name) for name in _COUNTS),
        f"{outcome.seconds:.1f}",
        _state(outcome),
    ]


def _state(outcome: "Outcome") -> str:
    if outcome.error:
        return "failed"
    return "" if outcome.is_ended else "stopped"


def _as_json(outcome: "Outcome") -> dict[str, object]:
    from tapehouse.ingest import CandleRequest
    from tapehouse.ingest.progress import planned_candles

    request = outcome.request
    start, end = _asked(outcome)
    candles = {"dataset": "ohlcv", "timeframe": request.timeframe.name} if isinstance(request, CandleRequest) else None
    return {
        "exchange": outcome.exchange_id,
        "symbol": request.symbol,
        **(candles or {"dataset": "trade"}),
        "start": start,
        "end": end,
        "planned": planned_candles(request, outcome.plan),
        "planned_seconds": outcome.plan.seconds if outcome.plan else 0.0,
        **{name: getattr(outcome.result, name) for name in _COUNTS},
        "begins_at": outcome.plan.begins_at if outcome.plan else None,
        "is_ended": outcome.is_ended,
        "seconds": round(outcome.seconds, 3),
        "error": str(outcome.error) if outcome.error else None,
    }


def _asked(outcome: "Outcome") -> "tuple[datetime, datetime | None]":
    """The range asked for, in whole candles where it came to a plan."""
    return outcome.plan.wanted if outcome.plan else (outcome.request.start, outcome.request.end)
