"""A process of its own that changes what is stored of a market, a line a change: what ingest, repair and others do.

Each line is the kind of a change and a seed, which the rest is up to; the answer is the line again, once it is done.
"""

import sys
from datetime import datetime, timedelta

import numpy as np

from tapehouse.store.connection import Connection, connect
from tapehouse.store.delete import delete_rows
from tapehouse.store.features import refresh_features
from tapehouse.store.instruments import find_instrument
from tapehouse.store.rollups import refresh_rollups
from tests.query.conftest import Tape, random_bars, random_books, random_trades
from tests.query.moments import all_series, write_bars

# What is stored lies within so long before the whole hour that has last begun.
SPAN = timedelta(hours=12)
KINDS = ("bars", "hours", "trades", "bars", "delete", "books", "wide", "refresh", "bars", "retain")


def main(url: str, exchange: str, symbol: str, end: str) -> None:
    with connect(url) as connection:
        instrument = find_instrument(connection, exchange, symbol)
        tape = Tape(connection, exchange, symbol, instrument.instrument_id)
        for line in sys.stdin:
            kind, seed = line.split()
            change(connection, tape, kind, int(seed), datetime.fromisoformat(end))
            sys.stdout.write(line)
            sys.stdout.flush()


def change(connection: Connection, tape: Tape, kind: str, seed: int, end: datetime) -> None:
    """Change something."""
    rng = np.random.default_rng(seed)
    start = end - timedelta(minutes=int(rng.integers(10, SPAN // timedelta(minutes=1))))
    length = timedelta(minutes=int(rng.integers(5, 90)))
    match kind:
        case "bars" | "wide":
            bars = random_bars(start, length // timedelta(minutes=1), seed=seed)
            # Another decimal makes the scale wider, and with it every stored number.
            write_bars(tape, bars / 10 if kind == "wide" else bars, lasting=length)
        case "hours":
            write_bars(tape, random_bars(start.replace(minute=0), 3, step=timedelta(hours=1), seed=seed), "1h")
        case "trades":
            tape.write_trades(random_trades(start, 200, span=length, seed=seed), (start, start + length))
        case "books":
            times = [start + length * number / 50 for number in range(50)]
            tape.write_books(random_books(times, seed=seed), (start, start + length))
        case "delete":
            series = all_series(connection, tape)
            delete_rows(connection, series[int(rng.integers(len(series)))], start, start + length)
        case "refresh":
            refresh_rollups(connection)
            refresh_features(connection)
        case _:
            connection.execute(
                "insert into retention values ('trade', 0, %s) on conflict (dataset, timeframe_s)"
                " do update set dropped_before = greatest(retention.dropped_before, excluded.dropped_before)",
                (end - SPAN - timedelta(days=1, minutes=int(rng.integers(60))),),
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
