"""Stored rows on their way into files: what is known of a range of a series, and its rows piece after piece.

Rows come as they are stored, in whole ticks and lots; `columns` makes tables of them. All functions run in the
transaction of the connection they are given.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Final, TypeAlias

from tapehouse.candle import VALUE_COLUMNS
from tapehouse.files.label import FileLabel
from tapehouse.instrument import Listing
from tapehouse.query.candles import candle_statement
from tapehouse.query.decode import CopyDecoder, Field
from tapehouse.query.ledger import NO_TIMEFRAME_S, read_ledger
from tapehouse.query.plan import Read, reach_of
from tapehouse.query.question import Question
from tapehouse.query.rows import copy_out, even_portions, uneven_portions
from tapehouse.query.trades import room_for_ids, trade_fields, trade_statement
from tapehouse.ranges import Substitute, TimeRange
from tapehouse.store.connection import Connection
from tapehouse.store.instruments import CandleSeries, Series, TradeSeries, find_instrument
from tapehouse.store.substitutes import read_substitutes
from tapehouse.timeframe import Timeframe

# From when to when; without an end up to now.
OpenRange: TypeAlias = tuple[datetime, datetime | None]

# Rows of a piece: enough for a row group that compresses well, few enough to hold several of them.
PIECE_ROWS: Final = 200_000


@dataclass(frozen=True, slots=True)
class Holding:
    """What one snapshot of the database holds of a series within a window.

    `label` is of its rows, None where nothing of the window is covered. `id_bytes` is what ids of trades take as
    texts, 0 where all are numbers. `dropped_before` is given where retention has taken something of the window.
    """

    label: FileLabel | None
    id_bytes: int
    dropped_before: datetime | None


def timeframe_of(series: Series) -> Timeframe | None:
    """The timeframe of candles; trades and order books have none."""
    return series.timeframe if isinstance(series, CandleSeries) else None


def read_holding(connection: Connection, series: CandleSeries | TradeSeries, asked: OpenRange) -> Holding:
    """What is known of the rows of that time, of candles those that open and close in it; maybe nothing."""
    instrument, timeframe = series.instrument, timeframe_of(series)
    timeframe_s = timeframe.seconds if timeframe else NO_TIMEFRAME_S
    start, end = asked
    if timeframe:
        # Neither rows nor coverage of parts of candles.
        start, end = timeframe.ceil(start), timeframe.floor(end) if end else None
    question = Question(instrument.exchange, instrument.symbol, start, end)
    ledger = read_ledger(connection, question, series.dataset, timeframes_s=(timeframe_s,))
    state = ledger.series[series.dataset, timeframe_s]
    reach = reach_of(state, ledger.window)
    if not reach.covered:
        return Holding(None, 0, reach.dropped_before)
    label = _label(connection, series, (reach.covered[0][0], reach.covered[-1][1]), reach.covered, state.revision)
    return Holding(label, room_for_ids(state), reach.dropped_before)


def read_window(connection: Connection, series: Series, window: TimeRange) -> tuple[FileLabel, int]:
    """The label of all rows of a window, in which no part of a candle lies, and what ids of trades take as texts."""
    instrument, timeframe = series.instrument, timeframe_of(series)
    timeframe_s = timeframe.seconds if timeframe else NO_TIMEFRAME_S
    question = Question(instrument.exchange, instrument.symbol, *window)
    ledger = read_ledger(connection, question, series.dataset, timeframes_s=(timeframe_s,))
    state = ledger.series[series.dataset, timeframe_s]
    return _label(connection, series, window, state.covered, state.revision), room_for_ids(state)


def stream_rows(
    connection: Connection,
    series: CandleSeries | TradeSeries,
    span: TimeRange,
    hand_over: Callable[[CopyDecoder], None],
    *,
    id_bytes: int,
) -> None:
    """Hand over the rows of that span in their order, a piece at a time; the decoder is emptied after each."""
    instrument_id = series.instrument.instrument_id
    if isinstance(series, CandleSeries):
        decoder = PieceDecoder([Field.integer("time"), Field.floats("values", len(VALUE_COLUMNS))], hand_over)
        read = Read("ohlcv", series.timeframe, span, (span,))
        for portion in even_portions(connection, span, decoder, step=series.timeframe.length):
            copy_out(connection, candle_statement(instrument_id, read, portion), decoder)
    else:
        decoder = PieceDecoder(trade_fields(id_bytes), hand_over)
        for portion in uneven_portions(connection, "trade", instrument_id, span, decoder):
            copy_out(connection, trade_statement(instrument_id, portion, id_bytes), decoder)
    decoder.hand_over_rest()


def _label(
    connection: Connection, series: Series, span: TimeRange, covered: tuple[TimeRange, ...], revision: int
) -> FileLabel:
    # What widening or the exchange's listings have changed since the series was looked up counts here.
    instrument = find_instrument(connection, series.instrument.exchange, series.instrument.symbol)
    start, end = span
    return FileLabel(
        listing=Listing(
            **{field.name: getattr(instrument, field.name) for field in fields(Listing) if field.name != "raw"}, raw={}
        ),
        dataset=series.dataset,
        timeframe=timeframe_of(series),
        start=start,
        end=end,
        covered=covered,
        substituted=tuple(_clipped(read_substitutes(connection, series, span), start, end)),
        revision=revision,
        first_seen_at=instrument.first_seen_at,
    )


class PieceDecoder(CopyDecoder):
    """Gathers rows until there are enough for a piece, hands that over and gathers the next."""

    def __init__(
        self, layout: Sequence[Field], hand_over: Callable[[CopyDecoder], None], *, piece_rows: int = PIECE_ROWS
    ) -> None:
        # With room for what one more gulp of data brings before a piece is handed over.
        super().__init__(layout, piece_rows + piece_rows // 10)
        self._hand_over = hand_over
        self._piece_rows = piece_rows

    def feed(self, data: bytes | memoryview) -> None:
        """Take the next bytes of the current answer, as `CopyDecoder` does."""
        super().feed(data)
        if len(self) >= self._piece_rows:
            self.hand_over_rest()

    def hand_over_rest(self) -> None:
        """Hand over what was gathered since the last piece, if anything."""
        if len(self):
            self._hand_over(self)
            self.start_over()


def _clipped(substitutes: Sequence[Substitute], start: datetime, end: datetime) -> list[Substitute]:
    return [Substitute(max(one.start, start), min(one.end, end), one.source) for one in substitutes]
