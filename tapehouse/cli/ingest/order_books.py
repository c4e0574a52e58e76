"""`tapehouse ingest order-books`: snapshots of order books, taken every so often for a while."""

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import click

from tapehouse.cli.derived import Derived, refresh_derived, tell_derived
from tapehouse.cli.failures import report_each
from tapehouse.cli.ingest.markets import distinct_symbols, market_options
from tapehouse.cli.options import (
    database_option,
    depth_option,
    duration_option,
    exchange_options,
    json_option,
    usable_database,
)
from tapehouse.cli.output import Column, print_json, print_table, remark
from tapehouse.cli.venue import exchange_address

if TYPE_CHECKING:
    from tapehouse.ingest.sampling import Sampling, SamplingOutcome

_EPILOG: Final = """\b
Examples:
  tapehouse ingest order-books --exchange binance --symbol BTC/USDT,ETH/USDT --depth 20 --every 1s --for 5m
  tapehouse ingest order-books --exchange kraken --symbol BTC/USD --every 5s --for 30s --json
  tapehouse ingest order-books --sandbox --exchange binance --symbol BTC/USDT --every 500ms --for 10s

\b
Snapshots are taken at whole multiples of the interval. A market that answers late delays no
other; an interval from one tick to the next in which no snapshot came is counted as missed. Lateness
is how long after its tick a snapshot was received. They are written every five seconds; features and
imbalances of them follow at the end, or with `tapehouse refresh`. Ctrl-C ends the sampling and keeps
what it took.
"""
_COLUMNS: Final = (
    Column("symbol"),
    *(Column(name, align="right") for name in ("ticks", "sampled", "missed", "stored", "rejected")),
    Column("p50 ms late", align="right"),
    Column("p99 ms late", align="right"),
    Column(""),
)


@click.command(name="order-books", epilog=_EPILOG)
@market_options
@depth_option
@click.option(
    "--every",
    type=duration_option,
    default="1s",
    show_default=True,
    metavar="TIME",
    help="The interval: 500ms, 1s, 1m.",
)
@click.option(
    "--for", "lasting", type=duration_option, default="5m", show_default=True, metavar="TIME", help="For how long: 5m."
)
@exchange_options
@database_option
@json_option
def order_books(
    *,
    exchange_id: str,
    symbols: tuple[str, ...],
    depth: int,
    every: timedelta,
    lasting: timedelta,
    sandbox: bool,
    exchange_url: str | None,
    url: str | None,
    as_json: bool,
) -> None:
    """Sample the order books of one or more markets of an exchange."""
    names = distinct_symbols(symbols)
    sampling = _sampling(depth, every, lasting)
    database = usable_database(url)
    taken: list[SamplingOutcome] = []
    try:
        with exchange_address(exchange_id, sandbox=sandbox, exchange_url=exchange_url) as base_url:
            remark(f"{exchange_id}: {sampling.ticks:,} ticks of {len(names)} order book(s), {depth} levels a side.")
            _sample(exchange_id, names, sampling, taken, database_url=database, base_url=base_url)
    except KeyboardInterrupt:
        if taken:
            _show(exchange_id, taken, Derived(), as_json=as_json)
        remark("Stopped. What was sampled is stored; `tapehouse refresh` computes the features over it.")
        raise
    derived = Derived()
    try:
        derived = refresh_derived(database)
    finally:
        _show(exchange_id, taken, derived, as_json=as_json)
    report_each((one.symbol, one.error) for one in taken)


def _sampling(depth: int, every: timedelta, lasting: timedelta) -> "Sampling":
    from tapehouse.ingest.sampling import Sampling

    return Sampling(depth, every, lasting)


def _sample(
    exchange_id: str,
    symbols: Sequence[str],
    sampling: "Sampling",
    taken: "list[SamplingOutcome]",
    *,
    database_url: str,
    base_url: str | None,
) -> None:
    """Sample into `taken`, which is known as far as it came also when this is interrupted."""
    from tapehouse.cli.progress import sampling_progress
    from tapehouse.ingest.sampling import sample_batch

    with sampling_progress(sampling.ticks) as show:

        def note(outcomes: "Sequence[SamplingOutcome]") -> None:
            taken[:] = outcomes
            show(outcomes)

        taken[:] = sample_batch(
            exchange_id, symbols, sampling, database_url=database_url, base_url=base_url, progress=note
        )


def _show(exchange_id: str, outcomes: "Sequence[SamplingOutcome]", derived: Derived, *, as_json: bool) -> None:
    if as_json:
        print_json({"order_books": [_as_json(exchange_id, one) for one in outcomes], **derived.as_json()})
        return
    print_table(_COLUMNS, (_row(one) for one in outcomes), title=f"{exchange_id} order books")
    ticks, missed = sum(one.ticks for one in outcomes), sum(one.missed for one in outcomes)
    if missed:
        remark(
            f"{missed:,} of {ticks:,} ticks brought no snapshot in time. If that goes on, the exchange's rate limit "
            "asks for a longer --every or fewer markets."
        )
    tell_derived(derived, remark)


def _row(outcome: "SamplingOutcome") -> list[object]:
    late = [outcome.lateness_percentile_ms(percent) for percent in (50, 99)]
    return [
        outcome.symbol,
        outcome.ticks,
        outcome.sampled,
        outcome.missed,
        outcome.inserted + outcome.changed,
        outcome.rejected,
        *("" if one is None else f"{one:.1f}" for one in late),
        "failed" if outcome.error else "",
    ]


def _as_json(exchange_id: str, outcome: "SamplingOutcome") -> dict[str, object]:
    counts = ("ticks", "sampled", "missed", "inserted", "changed", "unchanged", "rejected")
    return {
        "exchange": exchange_id,
        "symbol": outcome.symbol,
        **{name: getattr(outcome, name) for name in counts},
        "lateness_ms": {f"p{percent}": outcome.lateness_percentile_ms(percent) for percent in (50, 99)},
        "error": str(outcome.error) if outcome.error else None,
    }
