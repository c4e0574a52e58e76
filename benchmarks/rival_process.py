"""A process that reads candles with another library: `python -m benchmarks.rival_process LIBRARY QUESTION`.

It runs in an environment of its own (`make compare`), so nothing of ours is imported here. First it writes a line of
JSON about what it will measure; each line of its input then is a number of calls, each line of its output their
seconds.
"""

import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

import pandas as pd

Way = Callable[[], pd.DataFrame]


@dataclass(frozen=True, slots=True)
class Question:
    """Candles to read, in their order: `select` names time and values, `units` what each value is divided by.

    All of them, or those from `since` on, in ISO 8601.
    """

    url: str
    select: str
    units: list[float]
    since: str | None

    @property
    def sql(self) -> str:
        """The statement that gives the rows."""
        bound = f" and time >= '{self.since}'" if self.since else ""
        return f"{self.select}{bound} order by time"

    def frame(self, rows: pd.DataFrame) -> pd.DataFrame:
        """What `MarketData.candles` gives: times as the index, prices in quote units."""
        return rows.set_index("time").div(self.units)


def read_sql(question: Question) -> Mapping[str, Way]:
    """What pandas itself has, with each of the connections that it takes, kept open."""
    sqlalchemy = import_module("sqlalchemy")
    address = question.url.replace("postgresql://", "postgresql+psycopg://", 1)
    engine = sqlalchemy.create_engine(address, isolation_level="AUTOCOMMIT").connect()
    sql = sqlalchemy.text(question.sql)
    return {
        "pandas.read_sql by SQLAlchemy": lambda: question.frame(pd.read_sql(sql, engine)),
        "pandas.read_sql by psycopg": _read_sql_by_psycopg(question),
    }


def connectorx(question: Question) -> Mapping[str, Way]:
    """What connectorx has, with each of its quicker protocols; it keeps no connection open."""
    read: Callable[..., pd.DataFrame] = import_module("connectorx").read_sql

    def frame(protocol: str) -> pd.DataFrame:
        # It leaves out that times are UTC.
        return question.frame(read(question.url, question.sql, protocol=protocol)).tz_localize("UTC")

    return {f"connectorx, {one}": lambda one=one: frame(one) for one in ("binary", "cursor")}


def adbc(question: Question) -> Mapping[str, Way]:
    """ADBC's driver with a connection kept open."""
    connection: Any = import_module("adbc_driver_postgresql.dbapi").connect(question.url, autocommit=True)

    def frame() -> pd.DataFrame:
        with connection.cursor() as cursor:
            cursor.execute(question.sql)
            return question.frame(cursor.fetch_arrow_table().to_pandas())

    return {"adbc-driver-postgresql, fetch_arrow_table().to_pandas()": frame}


def arcticdb(question: Question) -> Mapping[str, Way]:
    """ArcticDB with the frame of all candles in a folder of this machine."""
    arctic = import_module("arcticdb").Arctic(f"lmdb://{_folder.name}")
    library = arctic.get_library("candles", create_if_missing=True)
    everything = Question(question.url, question.select, question.units, since=None)
    library.write("candles", _read_sql_by_psycopg(everything)())
    bounds = (pd.Timestamp(question.since), None) if question.since else None
    return {"ArcticDB on LMDB": lambda: library.read("candles", date_range=bounds).data}


LIBRARIES: Final[dict[str, Callable[[Question], Mapping[str, Way]]]] = {
    "read_sql": read_sql,
    "connectorx": connectorx,
    "adbc": adbc,
    "arcticdb": arcticdb,
}
_folder: Final = tempfile.TemporaryDirectory(prefix="tapehouse-bench-")


def main() -> None:
    """Measure the quickest way of the library that the command line names."""
    library, question = sys.argv[1], Question(**json.loads(sys.argv[2]))
    try:
        ways = LIBRARIES[library](question)
    except ImportError as error:
        print(json.dumps({"missing": str(error)}))
        return
    name = min(ways, key=lambda one: min(_time_s(ways[one]) for _ in range(2)))
    frame = ways[name]()
    print(json.dumps({"way": name, "rows": len(frame), "sum": float(frame["close"].sum())}), flush=True)
    for line in sys.stdin:
        print(json.dumps([_time_s(ways[name]) for _ in range(int(line))]), flush=True)


def _read_sql_by_psycopg(question: Question) -> Way:
    warnings.filterwarnings("ignore", "pandas only supports SQLAlchemy")
    connection = import_module("psycopg").connect(question.url, autocommit=True)
    return lambda: question.frame(pd.read_sql(question.sql, connection))


def _time_s(way: Way) -> float:
    started_s = time.perf_counter()
    way()
    return time.perf_counter() - started_s


if __name__ == "__main__":
    main()
