"""What wrong input and the faults of exchanges and databases lead to: the message, the exit code, a clean store."""

import os
import re
import socket
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner

import tapehouse.ingest.batch
import tapehouse.ingest.sampling
from tapehouse import embedded
from tapehouse.cli import main
from tapehouse.exchange import RetryPolicy
from tapehouse.ingest.venue import open_shared_exchange
from tapehouse.sandbox import Fault, Sandbox
from tapehouse.store.connection import connect
from tapehouse.store.migrate import migrate, read_migrations

_DAY = ("--since", "2025-05-01", "--until", "2025-05-02")
_BTC = ("ingest", "ohlcv", "--exchange", "binance", "--symbol", "BTC/USDT")


@dataclass(frozen=True)
class Case:
    """A command, what goes wrong, and what must come of it.

    `arguments` and `environment` may hold {names} of places. What is stored must be the same
    before and after, unless the case `stores`.
    """

    name: str
    arguments: Sequence[str]
    exit_code: int
    says: str
    fault: Fault | None = None
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    needs: str | None = None
    stores: bool = False


def _asked(name: str, exit_code: int, says: str, *arguments: str) -> Case:
    return Case(name, arguments, exit_code, says)


def _ingested(name: str, exit_code: int, says: str, *arguments: str) -> Case:
    return Case(name, ("ingest", "ohlcv", *arguments), exit_code, says)


def _stored(name: str, exit_code: int, says: str, url: str, **options: Any) -> Case:
    return Case(name, ("coverage", "--url", url), exit_code, says, **options)


def _faulty(name: str, exit_code: int, says: str, fault: Fault, *, stores: bool = False) -> Case:
    return Case(name, (*_BTC, *_DAY), exit_code, says, fault, stores=stores)


_TRADES = ("ingest", "trades", "--exchange", "binance", "--symbol", "BTC/USDT")
_BOOKS = ("ingest", "order-books", "--exchange", "binance", "--symbol", "BTC/USDT")
_CANDLES = ("candles", "binance", "BTC/USDT", "1m", "--start", "2025-06-01")
_INPUT = (
    _ingested(
        "unknown exchange",
        2,
        "ccxt knows no exchange 'binanse': did you mean binance",
        *("--exchange", "binanse", "--symbol", "BTC/USDT", *_DAY),
    ),
    _ingested(
        "unknown symbol",
        2,
        "Error: binance BTC/USDTT 1m: binance has no symbol 'BTC/USDTT': did you mean BTC/USDT",
        *("--exchange", "binance", "--symbol", "BTC/USDTT", *_DAY),
    ),
    _ingested("no symbol", 2, "No symbol was given", "--exchange", "binance", "--symbol", " ,", *_DAY),
    _asked("unknown timeframe", 2, "No timeframe '1 minute': write 1m", *_BTC, *_DAY, "--timeframe", "1 minute"),
    _asked("timeframe beside the day", 2, "Timeframe '7m' does not tile a UTC day", *_BTC, *_DAY, "--timeframe", "7m"),
    _ingested(
        "timeframe that the exchange lacks",
        2,
        "Error: kraken BTC/USD 3m: kraken has no 3m candles: use 1m, 5m",
        *("--exchange", "kraken", "--symbol", "BTC/USD", "--timeframe", "3m", "--since", "1d"),
    ),
    _asked(
        "naive time",
        2,
        "2025-05-01T12:00 has no time zone: write 2025-05-01T12:00Z for UTC",
        *(*_BTC, "--since", "2025-05-01T12:00"),
    ),
    _asked(
        "reversed range",
        2,
        "--since is 2025-05-02 00:00 and --until is 2025-05-01 00:00 UTC: swap them.",
        *(*_BTC, "--since", "2025-05-02", "--until", "2025-05-01"),
    ),
    _asked("start in the future", 2, "The start 2099-01-01 00:00 UTC is in the future", *_BTC, "--since", "2099-01-01"),
    _asked("no time at all", 2, "'yesterday' is no time: write 30m, 12h, 7d", *_BTC, "--since", "yesterday"),
    _asked("longer ago than dates", 2, "'999999w' is longer ago than there are dates", *_BTC, "--since", "999999w"),
    _asked("no start", 2, "Missing option '--since'", *_BTC),
    _asked("no such command", 2, "No such command 'candle'", "candle"),
    _asked("exchange address of another kind", 2, "is no address", *_BTC, *_DAY, "--exchange-url", "ftp://localhost"),
    _asked(
        "reversed read",
        2,
        "--start is 2025-06-01 00:00 and --end is 2025-05-01 00:00 UTC: swap them.",
        *(*_CANDLES, "--end", "2025-05-01"),
    ),
    _asked(
        "read from the future on",
        2,
        "The start 2099-01-01 00:00 UTC is in the future",
        *("trades", "binance", "BTC/USDT", "--start", "2099-01-01"),
    ),
    _asked(
        "market that is not stored",
        2,
        "binance has no BTC/USDTT: did you mean BTC/USDT",
        *("candles", "binance", "BTC/USDTT", "1m", "--start", "1d"),
    ),
    _asked(
        "exchange that is not stored",
        2,
        "No instruments of bybit are stored: run `tapehouse ingest ohlcv --exchange bybit --symbol BTC/USDT",
        *("candles", "bybit", "BTC/USDT", "1m", "--start", "1d"),
    ),
    _asked(
        "market without candles",
        2,
        "binance EMBER/USDT has no candles stored: run",
        *("candles", "binance", "EMBER/USDT", "1m", "--start", "1d"),
    ),
    _asked(
        "market without trades",
        2,
        "binance EMBER/USDT has no trades stored: run `tapehouse ingest trades --exchange binance --symbol EMBER/USDT",
        *("trades", "binance", "EMBER/USDT", "--start", "1d"),
    ),
    _asked(
        "symbol in small letters",
        2,
        "binance has no btc/usdt: did you mean BTC/USDT",
        *("trades", "binance", "btc/usdt", "--start", "1d"),
    ),
    _asked(
        "unknown symbol of trades",
        2,
        "Error: binance btc/usdt trades: binance has no symbol 'btc/usdt': did you mean BTC/USDT",
        *("ingest", "trades", "--exchange", "binance", "--symbol", "btc/usdt", *_DAY),
    ),
    _asked(
        "naive time of trades",
        2,
        "2025-05-01T12:00 has no time zone: write 2025-05-01T12:00Z for UTC",
        *(*_TRADES, "--since", "2025-05-01T12:00"),
    ),
    _asked(
        "reversed range of trades",
        2,
        "--since is 2025-05-02 00:00 and --until is 2025-05-01 00:00 UTC: swap them.",
        *(*_TRADES, "--since", "2025-05-02", "--until", "2025-05-01"),
    ),
    Case(
        "exchange that the sandbox does not play",
        ("ingest", "trades", "--sandbox", "--exchange", "bitfinex", "--symbol", "BTC/USDT", *_DAY),
        2,
        "The sandbox plays no exchange 'bitfinex': use binance,",
        environment={"TAPEHOUSE_EXCHANGE_URL": ""},
    ),
    _asked("no interval", 2, "'1 second' is no length of time: write 500ms, 1s", *_BOOKS, "--every", "1 second"),
    _asked("interval of nothing", 2, "every 100 ms at most", *_BOOKS, "--every", "0s"),
    _asked("shorter than its interval", 2, "let it last longer", *_BOOKS, "--every", "1m", "--for", "30s"),
    _asked("depth of nothing", 2, "A depth of 0 makes no sense: ask for 1 to 1000", *_BOOKS, "--depth", "0"),
    _asked(
        "unknown symbol of an order book",
        2,
        "Error: binance has no symbol 'BTC/USDTT': did you mean BTC/USDT",
        *("ingest", "order-books", "--exchange", "binance", "--symbol", "BTC/USDTT", "--for", "1s"),
    ),
    _asked("comparison of the future", 2, "is in the future", "compare", "--start", "2099-01-01"),
    _asked("Parquet on a terminal", 2, "name a file with --output FILE", *_CANDLES, "--format", "parquet"),
    _asked("table into a file", 2, "choose --format csv, json or parquet", *_CANDLES, "--output", "{folder}/table"),
    _asked(
        "folder that is not there",
        2,
        "Can't write {folder}/missing/btc.csv: No such file or directory.",
        *(*_CANDLES, "--format", "csv", "--output", "{folder}/missing/btc.csv"),
    ),
    _asked(
        "file where a folder is",
        2,
        "Can't write {folder}: Is a directory.",
        *(*_CANDLES, "--format", "parquet", "--output", "{folder}"),
    ),
    _asked("reset without a yes", 2, "Nothing was deleted: there is nobody to ask here, so add --yes.", "db", "reset"),
    _asked("fallback that nobody knows", 2, "ccxt knows no exchange 'binanze'", "repair", "--fallback", "binanze"),
    _asked("export to a table of Excel", 2, "x.xlsx is named as no .parquet, .feather, .csv", "export", "x.xlsx"),
    _asked("no recordings", 2, "{folder} holds no recordings", "sandbox", "--replay", "{folder}", "--port", "0"),
)
_DATABASES = (
    Case(
        "no database",
        ("coverage",),
        4,
        "No database: TAPEHOUSE_DATABASE_URL is not set and no embedded one runs in {folder}/data. "
        "Start one with `tapehouse db up`",
        environment={"TAPEHOUSE_DATA_DIR": "{folder}/data"},
    ),
    _stored(
        "wrong password", 4, "The database refused the connection", "postgresql://tapehouse:wrong@{address}/tapehouse"
    ),
    _stored(
        "wrong user", 4, "The database refused the connection", "postgresql://nobody:{password}@{address}/tapehouse"
    ),
    _stored(
        "wrong database", 4, "The database refused the connection", "postgresql://tapehouse:{password}@{address}/no"
    ),
    _stored(
        "wrong port", 4, "No database answers at 127.0.0.1:{closed_port}/x", "postgresql://127.0.0.1:{closed_port}/x"
    ),
    _stored("unknown host", 4, "No database answers at nowhere.invalid:5432", "postgresql://nowhere.invalid/x"),
    _stored("no URL", 4, "That is no PostgreSQL URL", "sqlite:///market.db"),
    _stored("no tables yet", 4, "run `tapehouse db migrate`", "{new_url}"),
    Case(
        "ingest without tables",
        (*_BTC, *_DAY, "--url", "{new_url}"),
        4,
        "The database lacks {migrations} migration(s), the first 0001_create_ledgers: run `tapehouse db migrate`.",
    ),
    *(
        Case(f"{command[0]} without tables", (*command, "--url", "{new_url}"), 4, "run `tapehouse db migrate`")
        for command in (
            ("trades", "binance", "BTC/USDT", "--start", "1d"),
            ("order-book", "binance", "BTC/USDT"),
            ("imbalances", "binance", "BTC/USDT", "--start", "1d"),
            ("compare",),
            ("refresh",),
        )
    ),
    Case(
        "order books into no tables",
        (*_BOOKS, "--for", "1s", "--url", "{new_url}"),
        4,
        "run `tapehouse db migrate`",
    ),
    Case(
        "trades of the sandbox into real data",
        ("ingest", "trades", "--exchange", "coinbaseexchange", "--symbol", "BTC/USD", *_DAY),
        4,
        "This database holds real coinbaseexchange data, which the sandbox's must not mix with: use another database",
    ),
    Case(
        "order books of the sandbox into real data",
        ("ingest", "order-books", "--exchange", "coinbaseexchange", "--symbol", "BTC/USD", "--for", "1s"),
        4,
        "This database holds real coinbaseexchange data, which the sandbox's must not mix with: use another database",
    ),
    Case(
        "sandbox into real data",
        ("ingest", "ohlcv", "--sandbox", "--exchange", "coinbaseexchange", "--symbol", "BTC/USD", *_DAY),
        4,
        "This database holds real coinbaseexchange data, which the sandbox's must not mix with: use another database",
    ),
    Case(
        "instruments of the sandbox into real ones",
        ("instruments", "--sandbox", "--sync", "coinbaseexchange"),
        4,
        "This database holds real coinbaseexchange data, which the sandbox's must not mix with: use another database",
    ),
    Case(
        "no extension",
        ("db", "migrate", "--url", "{TAPEHOUSE_TEST_PLAIN_URL}"),
        4,
        "This server has no usable TimescaleDB",
        needs="TAPEHOUSE_TEST_PLAIN_URL",
    ),
    Case(
        "Apache-only extension",
        ("db", "migrate", "--url", "{TAPEHOUSE_TEST_APACHE_URL}"),
        4,
        "is the Apache-only edition",
        needs="TAPEHOUSE_TEST_APACHE_URL",
    ),
)
_GIVEN_UP = "binance can't be asked at the moment"
_EXCHANGES = (
    _faulty("too many requests", 3, "binance asks for fewer requests (status 429", Fault("status", status=429)),
    _faulty("banned for a while", 3, "binance asks for fewer requests (status 418", Fault("status", status=418)),
    _faulty("unavailable for legal reasons", 3, "most likely a geo block", Fault("status", status=451)),
    _faulty("forbidden", 3, "most likely a geo block", Fault("status", status=403)),
    _faulty("bad request", 3, "binance refused the request (status 400", Fault("status", status=400)),
    _faulty("server error", 3, _GIVEN_UP, Fault("status", status=500)),
    _faulty("overloaded", 3, _GIVEN_UP, Fault("status", status=503)),
    _faulty("no answer", 3, _GIVEN_UP, Fault("hang")),
    _faulty("dropped connection", 3, _GIVEN_UP, Fault("drop")),
    _faulty(
        "HTML with status 200",
        3,
        "binance gave an answer that makes no sense (status 200: an HTML page)",
        Fault("html"),
    ),
    _faulty("broken JSON", 3, "binance gave an answer that makes no sense", Fault("broken_json", path="klines")),
    _faulty("empty answer", 3, "binance gave an answer that makes no sense", Fault("empty_body", path="klines")),
    # With this seed the first page comes at the first try, and the second one fails at both.
    Case(
        "down after the first page",
        ("ingest", "ohlcv", "--exchange", "binance", "--symbol", "ETH/BTC", *_DAY),
        3,
        "Error: binance ETH/BTC 1m: 1 range could not be had, the last because of this: binance can't be asked",
        Fault("status", path="klines", probability=0.5, seed=3),
        stores=True,
    ),
    Case(
        "nothing listens",
        (*_BTC, *_DAY, "--exchange-url", "http://127.0.0.1:{closed_port}"),
        3,
        _GIVEN_UP,
    ),
    Case(
        "nothing listens for trades",
        (*_TRADES, *_DAY, "--exchange-url", "http://127.0.0.1:{closed_port}"),
        3,
        _GIVEN_UP,
    ),
    Case(
        "nothing listens for order books",
        (*_BOOKS, "--for", "1s", "--exchange-url", "http://127.0.0.1:{closed_port}"),
        3,
        "binance can't be asked at the moment",
    ),
    Case(
        "HTML instead of trades",
        (*_TRADES, *_DAY),
        3,
        "binance gave an answer that makes no sense (status 200: an HTML page)",
        Fault("html", path="aggTrades"),
    ),
    Case(
        "all rows bad",
        (
            *("ingest", "ohlcv", "--exchange", "binance", "--symbol", "SOL/USDT"),
            *("--since", "2025-05-01", "--until", "2025-05-01T10:00Z"),
        ),
        5,
        "Error: binance SOL/USDT 1m: 600 of 600 rows were rejected, which is more than 10%.",
        Fault("negative_price", rows=1000),
        stores=True,
    ),
    Case(
        "a few rows bad",
        ("ingest", "ohlcv", "--exchange", "binance", "--symbol", "ETH/USDT", *_DAY),
        0,
        "ETH/USDT 1m done: 1,440 rows",
        Fault("high_below_low", rows=3),
        stores=True,
    ),
)
_SERVICES = (
    _asked("sandbox port that is taken", 6, "can't listen on port {taken_port}", "sandbox", "--port", "{taken_port}"),
    Case(
        "data folder of something else",
        ("db", "up"),
        6,
        "{foreign} is neither empty nor an embedded database",
        environment={"TAPEHOUSE_DATA_DIR": "{foreign}"},
    ),
    Case(
        "reset of something else",
        ("db", "reset", "--yes"),
        6,
        "{foreign} is not an embedded database of tapehouse: nothing was touched.",
        environment={"TAPEHOUSE_DATA_DIR": "{foreign}"},
    ),
)
CASES = (*_INPUT, *_DATABASES, *_EXCHANGES, *_SERVICES)

Places = dict[str, str]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory, shared_sandbox: Sandbox) -> Generator[embedded.EmbeddedStatus]:
    """A database with an hour of candles: of the sandbox's binance, and of coinbaseexchange as if that were real."""
    with embedded.running(tmp_path_factory.mktemp("bad-input") / "data") as status:
        with connect(status.url or "") as connection:
            migrate(connection)
        hour = ("--since", "2025-06-01", "--until", "2025-06-01T01:00Z")
        for exchange, symbol in (("binance", "BTC/USDT"), ("coinbaseexchange", "BTC/USD")):
            asked = ("ingest", "ohlcv", "--exchange", exchange, "--symbol", symbol, *hour)
            result = CliRunner().invoke(main, [*asked, "--url", status.url or "", "--exchange-url", shared_sandbox.url])
            assert result.exit_code == 0, result.output
        with connect(status.url or "") as connection:
            connection.execute("update instrument set from_sandbox = false where exchange = 'coinbaseexchange'")
        yield status


@pytest.fixture(scope="module")
def new_url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """A database without tables."""
    with embedded.running(tmp_path_factory.mktemp("bad-input") / "new") as status:
        yield status.url or ""


@pytest.fixture
def places(
    database: embedded.EmbeddedStatus, new_url: str, shared_sandbox: Sandbox, tmp_path: Path
) -> Generator[Places]:
    """What the cases' {names} stand for."""
    parts = urlsplit(database.url or "")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").touch()
    with socket.create_server(("127.0.0.1", 0)) as closed:
        closed_port = closed.getsockname()[1]
    yield {
        "folder": str(tmp_path),
        "foreign": str(foreign),
        "new_url": new_url,
        "address": f"{parts.hostname}:{parts.port}",
        "password": parts.password or "",
        "closed_port": str(closed_port),
        "migrations": str(len(read_migrations())),
        "taken_port": shared_sandbox.url.rpartition(":")[2],
        **{name: value for name, value in os.environ.items() if name.startswith("TAPEHOUSE_TEST_")},
    }
    assert (foreign / "thesis.tex").exists()


Rows = list[tuple[object, ...]]
Query = Callable[[LiteralString], Rows]


@pytest.fixture
def ask(database: embedded.EmbeddedStatus) -> Query:
    def ask(statement: LiteralString) -> Rows:
        with connect(database.url or "") as connection:
            return connection.execute(statement).fetchall()

    return ask


def _stored_by(ask: Query) -> list[Rows]:
    """What the store holds, but for instruments, series without anything in them, and notes of what failed."""
    return [
        ask("select instrument_id, timeframe_s, count(*) from ohlcv group by 1, 2 order by 1, 2"),
        ask("select instrument_id, count(*) from trade group by 1 order by 1"),
        ask("select instrument_id, count(*) from order_book group by 1 order by 1"),
        ask("select series_id, covered::text from coverage where not isempty(covered) order by 1"),
        ask("select series_id, count(*) from quarantine group by 1 order by 1"),
        ask("select series_id, during::text, cause from unavailable where cause <> 'failed' order by 1, 2"),
        ask("select name from schema_migration order by 1"),
    ]


def _half_written(ask: Query) -> Rows:
    """Series whose candles and coverage disagree; all of these markets trade in every minute."""
    return ask("""
        select series_id, covered.minutes, stored.minutes
        from (select * from series where dataset = 'ohlcv') as series,
            lateral (
                select coalesce(sum(extract(epoch from upper(one) - lower(one)) / 60), 0) as minutes
                from coverage, unnest(coverage.covered) as one
                where coverage.series_id = series.series_id
            ) as covered,
            lateral (
                select count(*) as minutes from ohlcv
                where ohlcv.instrument_id = series.instrument_id and ohlcv.timeframe_s = series.timeframe_s
            ) as stored
        where covered.minutes <> stored.minutes
    """)


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name.replace(" ", "-")) for case in CASES])
def test_bad_input(
    case: Case,
    database: embedded.EmbeddedStatus,
    sandbox: Sandbox,
    places: Places,
    ask: Query,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if case.needs and case.needs not in os.environ:
        pytest.skip(f"{case.needs} names no server")
    impatient = partial(open_shared_exchange, timeout_s=0.5, retry=RetryPolicy(attempts=2, base_s=0.01, cap_s=0.02))
    for module in (tapehouse.ingest.batch, tapehouse.ingest.sampling):
        monkeypatch.setattr(module, "open_shared_exchange", impatient)
    environment = {
        "TAPEHOUSE_DATABASE_URL": None,
        "TAPEHOUSE_DATA_DIR": str(database.data_dir),
        "TAPEHOUSE_EXCHANGE_URL": sandbox.url,
        **{name: value.format(**places) for name, value in case.environment.items()},
    }
    if case.fault:
        sandbox.faults.add(case.fault)
    before = _stored_by(ask)

    result = CliRunner().invoke(main, [one.format(**places) for one in case.arguments], env=environment)

    assert result.exit_code == case.exit_code, result.output
    assert case.says.format(**places) in " ".join(result.stderr.split())
    assert "Traceback" not in result.output
    assert places["password"] not in result.output
    if case.exit_code:
        assert re.search(r"^Error: [^\n]+$", result.stderr, re.MULTILINE)
        assert result.stdout == "" or case.arguments[0] == "ingest"
    after = _stored_by(ask)
    assert (after != before) if case.stores else (after == before)
    assert _half_written(ask) == []
