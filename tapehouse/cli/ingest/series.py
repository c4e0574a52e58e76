"""Ingest of ranges of several series: run, shown, and its failures reported; what to ask for is each command's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from tapehouse.cli.derived import Derived, refresh_derived, tell_derived
from tapehouse.cli.failures import report_each
from tapehouse.cli.output import Column, print_json, print_table, remark, utc_text
from tapehouse.cli.venue import exchange_address

if TYPE_CHECKING:
    from tapehouse.ingest import Outcome, SeriesRequest

_COUNTS: Final = ("fetched", "inserted", "changed", "unchanged", "rejected", "refused")


@dataclass(frozen=True, slots=True)
class History:
    """What to fetch of one exchange: `what` names it for people, `facts` say it in JSON.

    `is_derived_from` says whether rollups or features are built from it.
    """

    exchange_id: str
    requests: "Sequence[SeriesRequest]"
    what: str
    facts: Mapping[str, str]
    is_derived_from: bool


def ingest_history(
    history: History, *, database_url: str, sandbox: bool, exchange_url: str | None, as_json: bool
) -> None:
    """Fetch it, refresh what is derived from it, and show what came; exits with the worst failure's code."""
    with exchange_address(history.exchange_id, sandbox=sandbox, exchange_url=exchange_url) as base_url:
        outcomes = _ingest(history, database_url=database_url, base_url=base_url)
    derived = Derived()
    try:
        if history.is_derived_from:
            derived = refresh_derived(database_url)
    finally:
        _show(history, outcomes, derived, as_json=as_json)
    report_each((one.request.symbol, one.error) for one in outcomes)


def _ingest(history: History, *, database_url: str, base_url: str | None) -> "list[Outcome]":
    from tapehouse.cli.progress import progress
    from tapehouse.ingest import ingest_batch

    try:
        with progress() as watcher:
            return ingest_batch(
                history.exchange_id, history.requests, database_url=database_url, base_url=base_url, watcher=watcher
            )
    except KeyboardInterrupt:
        remark("Stopped. What was committed stays: run the same command again to go on.")
        raise


def _show(history: History, outcomes: "Sequence[Outcome]", derived: Derived, *, as_json: bool) -> None:
    if as_json:
        print_json({"series": [_as_json(history, one) for one in outcomes], **derived.as_json()})
        return
    start, end = _asked(next((one for one in outcomes if one.plan), outcomes[0]))
    title = f"{history.exchange_id} {history.what}, {utc_text(start)} to {utc_text(end) or 'now'} UTC"
    columns = [Column("symbol"), *(Column(name, align="right") for name in (*_COUNTS, "seconds")), Column("")]
    print_table(columns, (_row(one) for one in outcomes), title=title)
    for outcome in outcomes:
        if outcome.result.refused:
            remark(
                f"{outcome.request.symbol}: the exchange gives only what is recent; it refused the earlier part of the "
                "range, which stays uncovered."
            )
    tell_derived(derived, remark)


def _row(outcome: "Outcome") -> list[object]:
    counts = [getattr(outcome.result, name) for name in _COUNTS]
    return [outcome.request.symbol, *counts, f"{outcome.seconds:.1f}", "failed" if outcome.error else ""]


def _as_json(history: History, outcome: "Outcome") -> dict[str, object]:
    start, end = _asked(outcome)
    return {
        "exchange": history.exchange_id,
        "symbol": outcome.request.symbol,
        **history.facts,
        "start": start,
        "end": end,
        **{name: getattr(outcome.result, name) for name in _COUNTS},
        "seconds": round(outcome.seconds, 3),
        "error": str(outcome.error) if outcome.error else None,
    }


def _asked(outcome: "Outcome") -> "tuple[datetime, datetime | None]":
    """The range asked for, in whole candles where it came to a plan."""
    return outcome.plan.wanted if outcome.plan else (outcome.request.start, outcome.request.end)
