"""`tapehouse replay`: what was captured during a stream, through the same path into the store again."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from tapehouse.cli.options import database_option, json_option, usable_database
from tapehouse.cli.output import print_json, print_table, remark
from tapehouse.cli.stream import STREAM_COLUMNS, stream_row, tell_progress
from tapehouse.config import settings_from_environment
from tapehouse.errors import InputError

if TYPE_CHECKING:
    from tapehouse.stream.replay import Replayed
    from tapehouse.stream.statistics import StreamStatistics

_EPILOG: Final = """\b
Examples:
  tapehouse stream --exchange binance --symbol BTC/USDT --for 1m --capture heard
  tapehouse replay heard
  tapehouse replay heard --speed 10 --json

\b
A local server tells all that the exchange told, in the same order, and the ordinary stream stores it, in the database
of --url; what is there already is not written again. Requests that were not captured are refused: what they would have
brought stays a gap, see `tapehouse gaps`.
"""
_MOST_NAMED: Final = 3


@click.command(epilog=_EPILOG)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--speed", type=float, metavar="X", help="How many times as fast as it was heard; by default as fast as it goes."
)
@database_option
@json_option
def replay(*, folder: Path, speed: float | None, url: str | None, as_json: bool) -> None:
    """Stream again what `tapehouse stream --capture` has kept in FOLDER."""
    from tapehouse.stream.captured import captured_streams
    from tapehouse.stream.replay import Replayed
    from tapehouse.stream.replay import replay as replay_again
    from tapehouse.stream.supervision import run_until_told

    if speed is not None and not speed >= 1:
        raise InputError(f"A speed of {speed:g} would let connections die of silence: give --speed 1 or more.")
    database, replayed = usable_database(url), Replayed()
    captured = captured_streams(folder)
    exchanges = ", ".join(sorted({one.request.exchange_id for one in captured}))
    remark(f"{exchanges}: replaying {len(captured)} captured {'stream' if len(captured) == 1 else 'streams'}.")

    async def work(statistics: "StreamStatistics") -> None:
        await replay_again(
            folder,
            database_url=database,
            spill_folder=settings_from_environment().data_dir / "spill",
            speed=speed,
            statistics=statistics,
            replayed=replayed,
        )

    done = run_until_told(work, progress=tell_progress)
    if as_json:
        print_json({"exchange": exchanges, **done.as_json(), **_counts(replayed)})
    else:
        print_table(STREAM_COLUMNS, [stream_row(exchanges, done)], title=f"{exchanges} replayed")
    _tell_missing(replayed)


def _counts(replayed: "Replayed") -> dict[str, object]:
    return {
        "streams": replayed.streams,
        "messages": replayed.messages,
        "unheard": replayed.unheard,
        "unanswered": sorted(replayed.unanswered),
    }


def _tell_missing(replayed: "Replayed") -> None:
    if replayed.unheard:
        remark(f"{replayed.unheard:,} messages found nobody connected, and were not stored.")
    if replayed.unanswered:
        named = ", ".join(sorted(replayed.unanswered)[:_MOST_NAMED])
        more = ", ..." if len(replayed.unanswered) > _MOST_NAMED else ""
        remark(f"{len(replayed.unanswered):,} requests were not captured, what they ask for stays a gap: {named}{more}")
