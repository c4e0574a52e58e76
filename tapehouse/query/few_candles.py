"""Few candles, as a bot asks for them every minute: the ledger and the rows in one round trip."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from psycopg.rows import dict_row

from tapehouse.candle import VALUE_COLUMNS
from tapehouse.query.attrs import instrument_attrs, window_attrs
from tapehouse.query.bars import Bars
from tapehouse.query.candles import candle_frame, candle_plan, plan_attrs, planned_candles, read_candles
from tapehouse.query.frame import MarketFrame
from tapehouse.query.guesses import Guesses, SeriesKey, guess
from tapehouse.query.ledger import Ledger, ledger_of, ledger_parameters
from tapehouse.query.plan import MINUTE
from tapehouse.query.question import Question
from tapehouse.store.connection import Connection
from tapehouse.store.sql import query
from tapehouse.timeframe import Timeframe

# Of more rows COPY is quicker than arrays, and the round trips no longer count.
_FEW: Final = 2000
# What is asked for without an end ends now by the server's clock, whatever ours says.
_CLOCK_SKEW: Final = timedelta(minutes=1)


def read_candles_at_once(
    connection: Connection, question: Question, timeframe: Timeframe, guesses: Guesses
) -> tuple[MarketFrame, Ledger]:
    """What `read_candles` gives, in one round trip, transaction and all, where candles are few and guesses hold."""
    key = ("candles", question.exchange, question.symbol, timeframe)
    known = guesses.get(key)
    found = _read_guessed(connection, guesses, known, question, timeframe) if known else None
    frame, ledger = found or read_candles(connection, question, timeframe)
    guesses.keep(key, ledger)
    return frame, ledger


def _read_guessed(
    connection: Connection, guesses: Guesses, known: Ledger, question: Question, timeframe: Timeframe
) -> tuple[MarketFrame, Ledger] | None:
    """The answer, None where an earlier ledger does not say what rows it needs, or there are many."""
    start, last = timeframe.ceil(question.start), question.end or datetime.now(UTC) + _CLOCK_SKEW
    starts: dict[SeriesKey, datetime] = {("ohlcv", seconds): start for seconds in (MINUTE.seconds, timeframe.seconds)}
    guessed = replace(guess(known, starts, last), start=question.start, end=last, as_of=last)
    plan = candle_plan(guessed, timeframe)
    if plan is None or sum(read.timeframe.count(*read.span) for read in plan.reads) > _FEW:
        return None
    bars = Bars()
    facts = connection.cursor(row_factory=dict_row)
    # Results are fetched once all is sent: that makes it one round trip.
    with connection.pipeline():
        facts.execute(query("read_series"), ledger_parameters(question, starts), binary=True)
        bars.send(connection, guesses.rollups(connection), known.instrument_id, plan.reads)
        connection.execute(query("end_transaction"))
    bars.receive()
    ledger = ledger_of(connection, question, facts.fetchall())
    plan = candle_plan(ledger, timeframe)
    if plan is None or bars.missing(plan.reads) or ledger.instrument_id != known.instrument_id:
        return None
    candles = planned_candles(plan, bars.get)
    attrs = instrument_attrs(question, ledger, ledger.amount_unit) | window_attrs(ledger) | plan_attrs(plan, candles)
    return candle_frame(candles, ledger.scale, VALUE_COLUMNS, attrs), ledger
