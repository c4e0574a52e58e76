"""Columns of exported files: stored rows as Arrow tables, in our own layout and in freqtrade's.

Values leave whole ticks and lots here. How tables get into files is `formats`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from tapehouse.candle import PRICE_COLUMNS, VALUE_COLUMNS, Int64Array
from tapehouse.errors import InputError
from tapehouse.files.arrow import Array, Rows, Schema, compute, pa
from tapehouse.files.label import SCHEMA_KEY, FileLabel
from tapehouse.query.decode import CopyDecoder
from tapehouse.query.resample import lies_in
from tapehouse.query.trades import SIDE_CODES, SIDES, texts_of_ids

# What the column `source` says of rows that are the exchange's own answer, and of invented ones.
EXCHANGE_SOURCE: Final = "exchange"
SANDBOX_SOURCE: Final = "sandbox"

_TIME: Final = pa.timestamp("us", tz="UTC")
_WORD: Final = pa.dictionary(pa.int32(), pa.string())
_MS_US: Final = 1000


@dataclass(frozen=True, slots=True)
class Piece:
    """Some rows of a series as they are stored; it holds the decoder's arrays, which nobody else changes any more.

    `trade_id` and `side` are of trades alone.
    """

    time_us: Int64Array
    values: np.ndarray
    trade_id: np.ndarray | None
    side: np.ndarray | None

    @classmethod
    def of(cls, decoder: CopyDecoder, label: FileLabel, *, has_texts: bool) -> "Piece":
        """What the decoder holds, of the series of that label."""
        if label.dataset == "ohlcv":
            return cls(decoder.times_us("time"), decoder.floats("values"), None, None)
        trade_id = decoder.texts("trade_id") if has_texts else decoder.integers("trade_id")
        return cls(decoder.times_us("time"), decoder.floats("values"), trade_id, decoder.smallints("side"))


class Columns:
    """Our own layout, as in Parquet and CSV: a `time`, the values at ordinary prices and amounts, and a `source`."""

    def __init__(self, label: FileLabel, *, has_texts: bool) -> None:
        self._label = label
        names = (
            [("time", _TIME), *((name, pa.float64()) for name in VALUE_COLUMNS)]
            if label.dataset == "ohlcv"
            else [
                ("time", _TIME),
                ("trade_id", pa.string() if has_texts else pa.int64()),
                ("price", pa.float64()),
                ("amount", pa.float64()),
                ("side", _WORD),
            ]
        )
        self.schema: Schema = labelled([*names, ("source", _WORD)], label)

    def table(self, piece: Piece) -> Rows:
        """The piece as a table; it must not be used afterwards."""
        source = self._sources(piece.time_us)
        arrays = [times(piece.time_us), *_middle(piece, self._label), source]
        return pa.Table.from_arrays(arrays, schema=self.schema)

    def _sources(self, time_us: Int64Array) -> Array:
        # What was made of invented rows is invented too; the label tells of which.
        from_sandbox, substituted = self._label.listing.from_sandbox, self._label.substituted
        words = [SANDBOX_SOURCE if from_sandbox else EXCHANGE_SOURCE, *dict.fromkeys(one.source for one in substituted)]
        codes = np.zeros(len(time_us), dtype=np.int32)
        for code, word in enumerate(words[1:] if not from_sandbox else (), start=1):
            codes[lies_in(time_us, [(one.start, one.end) for one in substituted if one.source == word])] = code
        return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(words))


class FreqtradeColumns:
    """The layout that freqtrade keeps in feather files: times in milliseconds, and nothing beside its own columns."""

    def __init__(self, label: FileLabel, *, has_texts: bool) -> None:
        self._label = label
        self._has_texts = has_texts
        names = (
            [("date", pa.timestamp("ms", tz="UTC")), *((name, pa.float64()) for name in VALUE_COLUMNS)]
            if label.dataset == "ohlcv"
            else [
                ("timestamp", pa.int64()),
                ("id", pa.string()),
                ("type", pa.string()),
                ("side", pa.string()),
                ("price", pa.float64()),
                ("amount", pa.float64()),
                ("cost", pa.float64()),
            ]
        )
        self.schema: Schema = labelled(names, label)

    def table(self, piece: Piece) -> Rows:
        """The piece as a table; it must not be used afterwards. Raises InputError for times between milliseconds."""
        if (piece.time_us % _MS_US).any():
            raise InputError(
                f"{self._label.listing.exchange} {self._label.listing.symbol} has trades between milliseconds, which "
                "freqtrade's feather files can't hold: export to parquet or csv."
            )
        time_ms = pa.array(piece.time_us // _MS_US)
        if self._label.dataset == "ohlcv":
            arrays = [time_ms.view(self.schema.field("date").type), *_middle(piece, self._label)]
            return pa.Table.from_arrays(arrays, schema=self.schema)
        trade_id, price, amount, side = _middle(piece, self._label)
        sides = side.dictionary_decode()
        arrays = [
            time_ms,
            trade_id.cast(pa.string()),
            pa.nulls(len(time_ms), pa.string()),
            # freqtrade has no word for a side that the exchange did not tell.
            compute.if_else(compute.equal(sides, "unknown"), None, sides),
            price,
            amount,
            compute.multiply(price, amount),
        ]
        return pa.Table.from_arrays(arrays, schema=self.schema)


def labelled(names: Sequence[tuple[str, object]], label: FileLabel) -> Schema:
    """A schema of those columns, with the label."""
    return pa.schema(names, metadata={SCHEMA_KEY: label.to_json().encode()})


def times(time_us: Int64Array) -> Array:
    """Microseconds since 1970 UTC as a column of times; takes over their memory."""
    return pa.array(time_us).view(_TIME)


def _middle(piece: Piece, label: FileLabel) -> list[Array]:
    """What stands between time and source."""
    price, amount = 10.0**label.listing.price_decimals, 10.0**label.listing.amount_decimals
    if piece.trade_id is None or piece.side is None:
        for name, values in zip(VALUE_COLUMNS, piece.values, strict=True):
            values /= price if name in PRICE_COLUMNS else amount
        return [pa.array(values) for values in piece.values]
    prices, amounts = piece.values
    prices /= price
    amounts /= amount
    ids = piece.trade_id if piece.trade_id.dtype.kind == "i" else texts_of_ids(piece.trade_id)
    codes = pa.array(SIDE_CODES[piece.side].astype(np.int32))
    return [
        pa.array(ids),
        pa.array(prices),
        pa.array(amounts),
        pa.DictionaryArray.from_arrays(codes, pa.array(list(SIDES.categories))),
    ]
