"""Candles as a DataFrame: native, derived from 1m candles, or built from trades.

Which rows answer is the planner's business, arithmetic on them that of `resample`.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, TypeAlias

from psycopg.sql import Composed, Identifier, Literal

from tapehouse.candle import VALUE_COLUMNS, Float64Array
from tapehouse.errors import UnknownSeries
from tapehouse.query.archived import Archive, archived_candles
from tapehouse.query.attrs import RANGES_IN_ATTRS, instrument_attrs, json_time, ranges_attrs, window_attrs
from tapehouse.query.decode import CopyDecoder, Field
from tapehouse.query.fill import Fill, fill_bars, last_close
from tapehouse.query.frame import MarketFrame, value_frame
from tapehouse.query.ledger import NO_TIMEFRAME_S, Ledger, read_ledger
from tapehouse.query.plan import (
    MINUTE,
    TRADE_ROLLUPS,
    Plan,
    Read,
    closed_window,
    derivable_from_minutes,
    plan_candles,
    plan_minute_candles,
    plan_native_candles,
    plan_trade_candles,
)
from tapehouse.query.question import Question
from tapehouse.query.resample import (
    Candles,
    bars_without_row,
    count_rows,
    keep_ranges,
    merge_candles,
    resample,
)
from tapehouse.query.rows import copy_out, even_portions
from tapehouse.query.trades import unknown_trades
from tapehouse.ranges import TimeRange
from tapehouse.store.connection import Connection
from tapehouse.store.sql import query
from tapehouse.store.ticks import Scale
from tapehouse.timeframe import EPOCH, Timeframe, timeframe_of_seconds

Reading: TypeAlias = Callable[[Connection, Question, Timeframe], tuple[MarketFrame, Ledger]]

_TRADE_COLUMNS: Final = (*VALUE_COLUMNS, "trades", "bought", "sold")
# Neither ticks nor lots.
_COUNT: Final = "trades"
# Where most bars are empty, room for all of them may be more memory than there is.
_MOST_EXPECTED: Final = 2_000_000


def read_candles(
    connection: Connection,
    question: Question,
    timeframe: Timeframe,
    *,
    fill: Fill | None = None,
    archive: Archive | None = None,
) -> tuple[MarketFrame, Ledger]:
    """The answer of `MarketData.candles`, from candles, and the ledger it rests on."""
    ledger = look_up_candles(connection, question, timeframe, archive=archive)
    plan = candle_plan(ledger, timeframe)
    if plan is None:
        raise _unknown_candles(connection, question, timeframe)
    attrs = instrument_attrs(question, ledger, ledger.amount_unit)
    return _answer(connection, ledger, plan, VALUE_COLUMNS, attrs, fill=fill, archive=archive), ledger


def read_archived_candles(
    connection: Connection, question: Question, timeframe: Timeframe, *, archive: Archive, otherwise: Reading
) -> tuple[MarketFrame, Ledger]:
    """What `read_candles` gives with the archive where retention has dropped some of the time, else by the other way.

    That is one which knows of no archive, and is quicker.
    """
    if not archive.was_needed(("ohlcv", MINUTE.seconds), question.start):
        frame, ledger = otherwise(connection, question, timeframe)
        if not archive.is_needed(ledger):
            return frame, ledger
    return read_candles(connection, question, timeframe, archive=archive)


def candle_plan(ledger: Ledger, timeframe: Timeframe) -> Plan | None:
    """How `read_candles` answers by that ledger; None where nothing stored can give such candles."""
    native, minutes = (ledger.series.get(("ohlcv", one.seconds)) for one in (timeframe, MINUTE))
    return plan_candles(timeframe, _window(ledger, timeframe), native=native, minutes=minutes)


def look_up_candles(
    connection: Connection, question: Question, timeframe: Timeframe, *, archive: Archive | None = None
) -> Ledger:
    """What the ledgers say that `read_candles` rests on."""
    ledger = _read_ledger(connection, question, timeframe, (MINUTE.seconds, timeframe.seconds))
    return archive.complete(connection, ledger) if archive else ledger


def read_minute_candles(connection: Connection, question: Question, timeframe: Timeframe) -> tuple[MarketFrame, Ledger]:
    """The candles of that timeframe that 1m candles make, whatever the exchange gave of it itself, and the ledger.

    Raises UnknownSeries where no 1m candles are stored, or they can't make any.
    """
    ledger = _read_ledger(connection, question, timeframe, (MINUTE.seconds,))
    minutes = ledger.series.get(("ohlcv", MINUTE.seconds))
    plan = plan_candles(timeframe, _window(ledger, timeframe), native=None, minutes=minutes)
    if plan is None:
        raise _unknown_candles(connection, question, timeframe)
    attrs = instrument_attrs(question, ledger, ledger.amount_unit)
    return _answer(connection, ledger, plan, VALUE_COLUMNS, attrs), ledger


def read_trade_candles(
    connection: Connection, question: Question, timeframe: Timeframe, *, fill: Fill | None = None
) -> tuple[MarketFrame, Ledger]:
    """The answer of `MarketData.candles`, from trades, and the ledger it rests on."""
    ledger = read_ledger(connection, question, "trade")
    trades = ledger.find("trade")
    if trades is None:
        raise unknown_trades(question)
    plan = plan_trade_candles(timeframe, _window(ledger, timeframe), trades)
    attrs = instrument_attrs(question, ledger, ledger.trade_unit)
    frame = _answer(connection, ledger, plan, _TRADE_COLUMNS, attrs, fill=fill)
    counted = frame.astype({_COUNT: "int64"})
    assert isinstance(counted, MarketFrame)
    return counted, ledger


def candle_statement(instrument_id: int, read: Read, span: TimeRange) -> Composed:
    """The COPY of those candles of the read that open in the span."""
    values = {"instrument_id": Literal(instrument_id), "start": Literal(span[0]), "end": Literal(span[1])}
    if read.table == "ohlcv":
        return query("copy_candles").format(timeframe_s=Literal(read.timeframe.seconds), **values)
    if read.table == "trade":
        return query("copy_trade_bars").format(bar_s=Literal(read.timeframe.seconds), **values)
    if read.table in TRADE_ROLLUPS.values():
        return query("copy_trade_rollup").format(trade_rollup=Identifier(read.table), **values)
    return query("copy_rollup").format(rollup=Identifier(read.table), **values)


def _read_ledger(
    connection: Connection, question: Question, timeframe: Timeframe, timeframes_s: Sequence[int]
) -> Ledger:
    """What is known from the first bar on, so that substitutes before it don't take the place of later ones."""
    until_first = timeframe.ceil(question.start) - question.start
    return read_ledger(connection, question, "ohlcv", timeframes_s=timeframes_s, lookback=-until_first)


def _window(ledger: Ledger, timeframe: Timeframe) -> TimeRange:
    return closed_window(timeframe, ledger.start, ledger.end, ledger.as_of)


def _answer(
    connection: Connection,
    ledger: Ledger,
    plan: Plan,
    columns: Sequence[str],
    attrs: dict[str, Any],
    *,
    fill: Fill | None = None,
    archive: Archive | None = None,
) -> MarketFrame:
    candles = _read_planned(connection, ledger, plan, columns)
    attrs = attrs | window_attrs(ledger) | plan_attrs(plan, candles)
    if fill is None:
        return candle_frame(candles, ledger.scale, columns, attrs)
    ranges = plan.known if fill == "empty" else (plan.window,)
    candles, filled = fill_bars(
        candles, plan.timeframe, ranges, close_before=lambda: _close_before(connection, plan, columns, attrs, archive)
    )
    frame = candle_frame(candles, ledger.scale, columns, attrs | {"candles_filled": int(filled.sum())})
    frame["filled"] = filled
    return frame


def candle_frame(candles: Candles, scale: Scale, columns: Sequence[str], attrs: dict[str, Any]) -> MarketFrame:
    """Candles in whole ticks and lots as a DataFrame at ordinary prices; takes over their memory."""
    frame = value_frame(candles.time_us, _in_units(candles, scale, columns), columns)
    frame.attrs.update(attrs)
    return frame


def _close_before(
    connection: Connection, plan: Plan, columns: Sequence[str], attrs: Mapping[str, Any], archive: Archive | None
) -> float | None:
    """The last close before the plan's window, in ticks, of all series that can answer; None if there is none.

    Which of them answers depends on the window, and what is filled must not.
    """
    before = plan.window[0]
    question = Question(attrs["exchange"], attrs["symbol"], EPOCH, before)
    timeframes_s = (NO_TIMEFRAME_S, MINUTE.seconds, plan.timeframe.seconds)
    ledger = read_ledger(connection, question, "trade", "ohlcv", timeframes_s=timeframes_s)
    if archive and plan.source != "trades":
        ledger = archive.complete(connection, ledger)

    def last(planned: Callable[[TimeRange], Plan]) -> tuple[int, float] | None:
        def read(window: TimeRange) -> Candles:
            return _read_planned(connection, ledger, planned(window), columns)

        return last_close(read, plan.timeframe, planned((plan.timeframe.ceil(EPOCH), before)).known, before)

    found = [one for one in map(last, _planners(plan, ledger)) if one]
    # Of two that open at the same time the first counts, that of the series that answers.
    return max(found, key=itemgetter(0))[1] if found else None


def _planners(plan: Plan, ledger: Ledger) -> list[Callable[[TimeRange], Plan]]:
    """What plans another window from a series that can answer, of each series, first of the one in the plan."""
    timeframe, trades = plan.timeframe, ledger.find("trade")
    if plan.source == "trades":
        return [lambda window: plan_trade_candles(timeframe, window, trades)] if trades else []
    native, minutes = (ledger.series.get(("ohlcv", one.seconds)) for one in (timeframe, MINUTE))
    planners: list[Callable[[TimeRange], Plan]] = []
    if native:
        planners.append(lambda window: plan_native_candles(timeframe, window, native))
    if minutes and derivable_from_minutes(timeframe):
        planners.append(lambda window: plan_minute_candles(timeframe, window, minutes))
    return planners if plan.source == "native" else planners[::-1]


def planned_candles(plan: Plan, read: Callable[[Read], Candles], columns: Sequence[str] = VALUE_COLUMNS) -> Candles:
    """The candles of a plan, in whole ticks and lots, from what `read` gives of each of its reads."""
    parts = [read(one) for one in plan.reads]
    if not parts:
        return _candles(_decoder(columns, 0))
    if plan.source == "native":
        return parts[0]
    candles = merge_candles([keep_ranges(part, one.keep) for part, one in zip(parts, plan.reads, strict=True)])
    needs_no_resampling = all(one.timeframe == plan.timeframe for one in plan.reads)
    return candles if needs_no_resampling else resample(candles, plan.timeframe)


def _read_planned(connection: Connection, ledger: Ledger, plan: Plan, columns: Sequence[str]) -> Candles:
    return planned_candles(plan, lambda read: _read(connection, ledger, read, columns), columns)


def _read(connection: Connection, ledger: Ledger, read: Read, columns: Sequence[str]) -> Candles:
    decoder = _decoder(columns, min(read.timeframe.count(*read.span), _MOST_EXPECTED))
    for portion in even_portions(connection, read.span, decoder, step=read.timeframe.length):
        copy_out(connection, candle_statement(ledger.instrument_id, read, portion), decoder)
    series = ledger.series.get(("ohlcv", read.timeframe.seconds)) if read.table == "ohlcv" else None
    archived = archived_candles(series.archived, read.span, ledger.scale) if series and series.archived else []
    return merge_candles([*archived, _candles(decoder)])


def _decoder(columns: Sequence[str], expected: int) -> CopyDecoder:
    return CopyDecoder([Field.integer("time"), Field.floats("values", len(columns))], expected)


def _candles(decoder: CopyDecoder) -> Candles:
    return Candles(decoder.times_us("time"), decoder.floats("values"))


def _in_units(candles: Candles, scale: Scale, columns: Sequence[str]) -> Float64Array:
    """The values at ordinary prices and amounts, in place.

    Whole ticks over a power of ten give exactly the float64 nearest to the exchange's decimal.
    """
    for name, values in zip(columns, candles.values, strict=True):
        if name != _COUNT:
            values /= 10.0 ** scale.decimals(name)
    return candles.values


def plan_attrs(plan: Plan, candles: Candles) -> dict[str, Any]:
    """What is known of an answer by that plan, which gave those candles."""
    rows = count_rows(candles.time_us, plan.known)
    known, expected = plan.known_bars, plan.timeframe.count(*plan.window)
    empty = bars_without_row(plan.timeframe, candles.time_us, plan.known, at_most=RANGES_IN_ATTRS + 1)
    told = {"covered": plan.covered, "gaps": plan.gaps, "incomplete": plan.incomplete, "empty": empty}
    return {
        "timeframe": plan.timeframe.name,
        "source": plan.source,
        "read_from": list(dict.fromkeys(read.name for read in plan.reads)),
        "revision": plan.revision,
        "candles_expected": expected,
        "candles_empty": known - rows,
        "candles_missing": expected - known,
        **ranges_attrs({**told, "repaired": plan.repaired, "archived": plan.archived}),
        "dropped_before": json_time(plan.dropped_before),
    }


def _unknown_candles(connection: Connection, question: Question, timeframe: Timeframe) -> UnknownSeries:
    parameters = {"exchange": question.exchange, "symbol": question.symbol}
    fetched = [seconds for (seconds,) in connection.execute(query("read_timeframes"), parameters)]
    names = [timeframe_of_seconds(seconds).name for seconds in fetched if seconds != NO_TIMEFRAME_S]
    stored = f"only {', '.join(names)} candles stored, which can't give {timeframe}" if names else "no candles stored"
    of_market = f"--exchange {question.exchange} --symbol {question.symbol}"
    ingest = f"run `tapehouse ingest ohlcv {of_market} --timeframe {timeframe} --since 7d`"
    if NO_TIMEFRAME_S in fetched:
        ways = f'pass source="trades" to build them from its trades, or {ingest}'
    elif timeframe < MINUTE:
        ways = f'{ingest}; or, to build them with source="trades", `tapehouse ingest trades {of_market} --since 1h`'
    else:
        ways = ingest
    return UnknownSeries(f"{question.exchange} {question.symbol} has {stored}: {ways}.")
