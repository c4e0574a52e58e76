"""What all DataFrames share: an index of times, columns of the documented dtypes, and ways into other libraries."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import numpy as np
import pandas as pd

from tapehouse.candle import Float64Array, Int64Array
from tapehouse.errors import needs_extra

if TYPE_CHECKING:
    import polars as pl

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

# pyarrow's, which has no types.
Table: TypeAlias = Any

UTC_DTYPE: Final = "datetime64[us, UTC]"


class MarketFrame(pd.DataFrame):
    """A pandas DataFrame that other libraries can have too."""

    @property
    def _constructor(self) -> type["MarketFrame"]:
        return MarketFrame

    def _constructor_from_mgr(self, mgr: Any, axes: Any) -> "MarketFrame":  # noqa: ANN401 -- pandas' own
        # What pandas does for subclasses by itself copies the frame's parts twice more.
        make: Any = cast("Any", MarketFrame)._from_mgr  # noqa: SLF001
        return make(mgr, axes)

    def to_arrow(self) -> Table:
        """The same as a pyarrow Table, the index a column of its own, pairs of names in one; `attrs` stay behind.

        Raises MissingExtra where pyarrow is not installed.
        """
        with needs_extra("Arrow tables need", "pyarrow", extra="parquet"):
            import pyarrow as pa
        make = cast("Any", pa.Table).from_pandas
        return make(self._plain(), preserve_index=False).replace_schema_metadata(None)

    def to_polars(self) -> "pl.DataFrame":
        """The same as a polars DataFrame, columns as of `to_arrow`; `attrs` stay behind.

        Raises MissingExtra where polars or pyarrow is not installed.
        """
        with needs_extra("polars frames need", "polars", "pyarrow", extra="polars"):
            import polars as pl
        frame = pl.from_arrow(self.to_arrow())
        assert isinstance(frame, pl.DataFrame)
        return frame

    def _plain(self) -> pd.DataFrame:
        # A table that shared its memory would change with the frame.
        plain = pd.DataFrame(self, copy=True)
        plain.attrs = {}
        plain = plain if plain.index.name is None else plain.reset_index()
        if isinstance(plain.columns, pd.MultiIndex):
            plain.columns = [" ".join(filter(None, names)) for names in plain.columns]
        return plain


def sealed(frame: MarketFrame) -> MarketFrame:
    """The frame, to be kept and `handed_out`: from here on nothing can write into its memory, nor what shares it."""
    for block in cast("Any", frame)._mgr.blocks:  # noqa: SLF001 -- pandas' own; nothing public reaches all its memory
        _seal(getattr(block.values, "_ndarray", block.values))
        # pandas copies what it is to write to where others look at the same memory. The last one would write in place.
        block.refs.add_index_reference(_ONLOOKER)
    _seal(frame.index.array._ndarray)  # noqa: SLF001 -- as above
    return frame


def _seal(array: object) -> None:
    """Make an array read-only, and what it is a view of."""
    while isinstance(array, np.ndarray):
        array.flags.writeable = False
        array = array.base


# Looks at all memory that is sealed, for ever.
_ONLOOKER: Final = pd.Index([])


def handed_out(frame: MarketFrame, attrs: Mapping[str, Any]) -> MarketFrame:
    """A frame of the same rows, which whoever gets it may change: neither the rows nor `attrs` are shared.

    `frame` is `sealed`, so that rows are copied once they are written to; it has no attrs of its own, which pandas
    would copy in full.
    """
    copy = frame.copy(deep=False)
    copy.attrs = {**_copied_items(attrs)}
    return copy


def _copied_items(items: Mapping[str, Json]) -> dict[str, Json]:
    # An answer from memory takes hardly longer than this; most values are neither lists nor dicts.
    copied = dict(items)
    for name, value in items.items():
        if isinstance(value, (list, dict)):
            copied[name] = _copied(value)
    return copied


def _copied(value: Json) -> Json:
    if isinstance(value, list):
        return [_copied(one) for one in value] if value else []
    return _copied_items(value) if isinstance(value, dict) else value


def time_index(time_us: Int64Array) -> pd.DatetimeIndex:
    """An index named time of those microseconds since 1970 UTC; takes over their memory."""
    return pd.DatetimeIndex(time_us.view("datetime64[us]"), name="time", tz="UTC")


def value_frame(time_us: Int64Array, values: Float64Array, columns: Sequence[str]) -> MarketFrame:
    """Values of shape (columns, n) at those microseconds since 1970 UTC, of shape (n,); takes over their memory."""
    # Frames apart from each other, since an index can be given a name in place.
    names = _column_index(tuple(columns)).view()
    return MarketFrame(values.T, index=time_index(time_us), columns=names, copy=False)


# pandas takes longer to make one than all else of a small frame.
@lru_cache
def _column_index(names: tuple[str, ...]) -> pd.Index:
    return pd.Index(names)


def table(
    values: Sequence[Sequence[object]] | Mapping[str, Sequence[object] | np.ndarray], dtypes: Mapping[str, str]
) -> MarketFrame:
    """Rows, or columns by their names, as columns of those dtypes, which values that are missing would not give."""
    frame = pd.DataFrame(values, columns=pd.Index(dtypes))
    for name in (name for name, dtype in dtypes.items() if dtype == UTC_DTYPE):
        frame[name] = pd.to_datetime(frame[name], utc=True)
    return MarketFrame(frame.astype(dtypes))
