"""What a file is understood to hold: which series, in which columns, from when to when, and what it covers.

What the user says counts before what the rows say, that before the file's name; what contradicts each other is
refused. Nothing is written here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import floor
from pathlib import Path
from typing import Final

from tapehouse.candle import BELIEVABLE_MS
from tapehouse.errors import InputError
from tapehouse.files.checksums import verify_checksum
from tapehouse.files.label import BESIDE_SUFFIX
from tapehouse.files.layouts import Layout, layout_of
from tapehouse.files.markets import exchange_named, find_symbols, may_be, symbol_named
from tapehouse.files.names import Told, read_name
from tapehouse.files.survey import Survey, survey_table
from tapehouse.files.tables import Table, open_table
from tapehouse.files.times import Clock, TimeUnit, require_one_way
from tapehouse.instrument import AmountUnit
from tapehouse.ranges import TimeRange, merge_ranges
from tapehouse.store.instruments import Dataset
from tapehouse.timeframe import Timeframe, from_ms, from_us
from tapehouse.timeframe import timeframe as timeframe_named

_DAY_MS: Final = 86_400_000
# So many rows tell how far apart they are.
_ENOUGH_ROWS: Final = 10
_SANDBOX: Final = "sandbox"
# By these a file that tapehouse wrote is known, whatever columns another tool has added to it since.
_EXPORTED_CANDLES: Final = ("time", "open", "high", "low", "close", "volume", "source")

# The symbols of an exchange that are known, by which a name like BTCUSDT is understood.
KnownSymbols = Callable[[str], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Options:
    """What the user says of a file, None where nothing."""

    exchange: str | None = None
    symbol: str | None = None
    timeframe: Timeframe | None = None
    dataset: Dataset | None = None
    time_unit: TimeUnit | None = None
    time_zone: str | None = None
    amount_unit: AmountUnit | None = None


@dataclass(frozen=True, slots=True)
class Understanding:
    """What a file holds.

    `clock` reads its times, which are written as `times` says. `first` and `last` are the earliest and the latest
    time of a row. `vouched` is the time of which the file has all; None where it vouches for its rows alone.
    `unplaced` is where lines may belong that are no rows, or tell no time.
    `amount_unit` is None where nobody says. `is_verified` says that a checksum was beside the file, and is right.
    """

    table: Table
    layout: Layout
    exchange: str
    symbol: str
    timeframe: Timeframe | None
    clock: Clock
    times: str
    amount_unit: AmountUnit | None
    from_sandbox: bool
    rows: int
    first: datetime | None
    last: datetime | None
    disorder_ms: float
    vouched: tuple[TimeRange, ...] | None
    unplaced: tuple[TimeRange, ...]
    is_verified: bool

    @property
    def path(self) -> Path:
        """The file."""
        return self.table.path

    @property
    def dataset(self) -> Dataset:
        """Candles or trades."""
        return self.layout.dataset


def understand(path: Path, options: Options, *, known_symbols: KnownSymbols) -> Understanding:
    """Find out what the file holds, reading through all of it once.

    Raises InputError where that can't be known or is contradictory, NaiveDatetime for local times of no zone,
    UnknownTimeframe and MissingExtra.
    """
    is_verified = verify_checksum(path)
    table = open_table(path)
    told = _from_label(table, read_name(path)) if table.label else read_name(path)
    layout = layout_of(table, options.dataset or told.dataset)
    clock = _clock(table, layout, told, options)
    survey = survey_table(table, layout, clock)
    if not survey.rows and survey.misshapen:
        raise InputError(
            f"None of the lines of {path.name} has as many cells as its first, {len(table.names)}: make them agree."
        )
    if not survey.rows and not table.label:
        raise InputError(f"{path.name} holds no rows.")
    if survey.rows and not survey.has_times:
        raise InputError(
            f"None of the times in column {layout.columns['time']} of {path.name} can be read: they should be "
            "numbers since 1970, or as 2025-01-03T10:00:00Z."
        )
    times = require_one_way(clock, path.name)
    exchange = _exchange(table, layout, told, survey, options)
    first, last = _bounds(survey)
    vouched = _vouched(table, layout, told)
    if vouched and told.window and first and last:
        _require_within(path, told.window, first, last)
    return Understanding(
        table=table,
        layout=layout,
        exchange=exchange,
        symbol=_symbol(table, exchange, told, survey, options, known_symbols),
        timeframe=_timeframe(path, told, survey, options) if layout.dataset == "ohlcv" else None,
        clock=clock,
        times=times,
        amount_unit=_amount_unit(table, options),
        from_sandbox=_is_from_sandbox(table, survey),
        rows=survey.rows + survey.misshapen,
        first=first,
        last=last,
        disorder_ms=survey.disorder_ms,
        vouched=vouched,
        unplaced=_unplaced(survey),
        is_verified=is_verified,
    )


def _from_label(table: Table, told: Told) -> Told:
    """What the label tells, which is more than the name does."""
    label = table.label
    if label is None:
        return told
    if label.dataset == "order_book":
        raise InputError(
            f"{table.path.name} holds archived order books, which can't be imported: MarketData reads them."
        )
    return Told(label.listing.exchange, label.listing.symbol, dataset=label.dataset, timeframe=label.timeframe)


def _clock(table: Table, layout: Layout, told: Told, options: Options) -> Clock:
    counts_from_midnight = (
        told.day is not None
        and not table.is_named
        and layout.dataset == "ohlcv"
        and table.first_row[0].isdecimal()
        and int(table.first_row[0]) < _DAY_MS
    )
    return Clock(options.time_unit, options.time_zone, told.day if counts_from_midnight else None)


def _exchange(table: Table, layout: Layout, told: Told, survey: Survey, options: Options) -> str:
    named = survey.values.get("exchange")
    of_rows = table.label.listing.exchange if table.label else exchange_named(named.pop()) if named else None
    if options.exchange and of_rows and of_rows != options.exchange:
        if table.label:
            raise InputError(f"{table.path.name} is of {of_rows} {_by_label(table, '--exchange')}")
        raise InputError(
            f"The rows of {table.path.name} are of {of_rows}, not of {options.exchange}: leave --exchange out."
        )
    found = options.exchange or of_rows or told.exchange or ("binance" if layout.is_binance else None)
    if found is None:
        raise InputError(f"Nothing in {table.path.name} tells which exchange its rows are of: say so with --exchange.")
    return exchange_named(found)


def _symbol(
    table: Table, exchange: str, told: Told, survey: Survey, options: Options, known_symbols: KnownSymbols
) -> str:
    path, label = table.path, table.label
    if label is not None:
        if options.symbol not in (None, label.listing.symbol):
            raise InputError(f"{path.name} is of {label.listing.symbol} {_by_label(table, '--symbol')}")
        return label.listing.symbol
    named = survey.values.get("symbol")
    of_rows = named.pop() if named else None
    names = [name for name in (of_rows, told.symbol, told.market) if name]
    if options.symbol:
        return _symbol_told(path, options.symbol, names)
    if not names:
        raise InputError(f"Nothing in {path.name} tells which market its rows are of: say so with --symbol.")
    symbol = next((symbol for name in names if (symbol := symbol_named(name)) is not None), None)
    return symbol or _known_symbol(path, exchange, names[0], told.is_derivative, known_symbols)


def _symbol_told(path: Path, text: str, names: Sequence[str]) -> str:
    """The symbol that the user says, which none of the names that the file has may contradict."""
    symbol = symbol_named(text)
    if symbol is None:
        raise InputError(f"{text!r} is no symbol: write it as ccxt does, BTC/USDT, or BTC/USDT:USDT for a perpetual.")
    for name in names:
        if not may_be(name, symbol):
            raise InputError(f"{path.name} is of {name}, not of {text}: leave --symbol out, or correct it.")
    return symbol


def _known_symbol(
    path: Path, exchange: str, market: str, is_derivative: bool | None, known_symbols: KnownSymbols
) -> str:
    found = find_symbols(market, known_symbols(exchange), is_derivative=is_derivative)
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(f"{market} of {path.name} may be {' or '.join(found)}: say which with --symbol.")
    raise InputError(
        f"No stored instrument of {exchange} is {market}, the market of {path.name}: say which it is with --symbol, "
        f"as in --symbol BTC/USDT, or run `tapehouse instruments --sync {exchange}`."
    )


def _timeframe(path: Path, told: Told, survey: Survey, options: Options) -> Timeframe:
    named = survey.values.get("timeframe")
    of_file = timeframe_named(named.pop()) if named else told.timeframe
    said = options.timeframe or of_file
    if said is None:
        return _usual_timeframe(path, survey)
    if of_file not in (None, said) and survey.usual_timeframe != said:
        raise InputError(f"{path.name} says its candles are of {of_file}, not of {said}: leave --timeframe out.")
    _require_steps(path, said, survey, is_told=options.timeframe is not None)
    return said


def _usual_timeframe(path: Path, survey: Survey) -> Timeframe:
    usual = survey.usual_timeframe
    # Where most candles of a quiet market lack, the others are closer than is usual.
    if usual is None or any(0 < step < usual.ms and usual.ms % step == 0 == step % 1000 for step in survey.steps_ms):
        raise InputError(f"Nothing in {path.name} tells the timeframe of its candles: say it with --timeframe.")
    return usual


def _require_steps(path: Path, said: Timeframe, survey: Survey, *, is_told: bool) -> None:
    """Refuse candles that are closer than the timeframe, or all farther apart.

    Where the user says the timeframe, candles of a quiet market may be apart, but not all by the same.
    """
    step_ms, steps = survey.usual_step_ms, [step for step in survey.steps_ms if step]
    if said.is_monthly or step_ms is None:
        return
    is_too_far = survey.rows >= _ENOUGH_ROWS and min(steps) > said.ms and not (is_told and len(steps) > 1)
    if step_ms >= said.ms and not is_too_far:
        return
    apart = survey.usual_timeframe or f"{step_ms / 1000:g} s"
    if is_told:
        raise InputError(f"The candles of {path.name} are {apart} apart, not {said}: correct --timeframe.")
    raise InputError(
        f"{path.name} says its candles are of {said}, but they are {apart} apart: correct it, or say with "
        "--timeframe what they are."
    )


def _amount_unit(table: Table, options: Options) -> AmountUnit | None:
    of_label = table.label.amount_unit if table.label else None
    if options.amount_unit and of_label and options.amount_unit != of_label:
        raise InputError(f"The amounts of {table.path.name} count {of_label} units {_by_label(table, '--amount-unit')}")
    return options.amount_unit or of_label


def _by_label(table: Table, option: str) -> str:
    """How a refusal of what contradicts the label ends: where that is, and what to do."""
    if table.content.form == "CSV":
        beside = f"{table.path.name}{BESIDE_SUFFIX}"
        return f"by its label, {beside}: leave {option} out, or if that is wrong, remove {beside}."
    return f"by its label, inside the file: leave {option} out, or if that is wrong, write the file anew without it."


def _is_from_sandbox(table: Table, survey: Survey) -> bool:
    sources = survey.values.get("source", set[str]())
    if len(sources) > 1 and _SANDBOX in sources:
        raise InputError(f"{table.path.name} mixes rows of the sandbox with others: export it again.")
    if table.label is not None:
        return table.label.listing.from_sandbox
    if set(_EXPORTED_CANDLES) <= set(table.names) and not sources <= {_SANDBOX, "exchange"}:
        raise InputError(
            f"{table.path.name} marks rows that are not the exchange's own, and its label is gone: import it with "
            f"{table.path.name}.json beside it, as it was exported."
        )
    return _SANDBOX in sources


def _vouched(table: Table, layout: Layout, told: Told) -> tuple[TimeRange, ...] | None:
    if table.label is not None:
        return table.label.covered
    # Only what is in an archive, which tells when it is cut short, is known to be all of the day or month.
    if told.window is None or not layout.is_binance or table.content.wrapping is None:
        return None
    return (told.window,) if told.window[1] <= datetime.now(UTC) else None


def _require_within(path: Path, window: TimeRange, first: datetime, last: datetime) -> None:
    """Refuse rows outside the day or month that the name tells: of that they say nothing."""
    start, end = window
    if not start <= first <= last < end:
        raise InputError(
            f"{path.name} is not what it is called, its name says {start} to {end}, its rows are from {first} to "
            f"{last}: rename it, or get it again."
        )


def _unplaced(survey: Survey) -> tuple[TimeRange, ...]:
    """Where lines that tell no time may belong: from before what precedes them to the end of what follows."""
    reach_ms, first_ms, stop_ms = survey.disorder_ms, BELIEVABLE_MS.start, BELIEVABLE_MS.stop
    return tuple(
        merge_ranges(
            (from_ms(floor(max(first_ms, start_ms - reach_ms))), from_ms(floor(min(stop_ms, end_ms + reach_ms)) + 1))
            for start_ms, end_ms in survey.unplaced_ms
        )
    )


def _bounds(survey: Survey) -> tuple[datetime | None, datetime | None]:
    if not survey.has_times:
        return None, None
    return from_us(round(survey.first_ms * 1000)), from_us(round(survey.last_ms * 1000))
