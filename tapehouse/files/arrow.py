"""pyarrow, which ships no types, as the rest of this package sees it; raises MissingExtra where it is not installed."""

import importlib
from typing import Any, TypeAlias

from tapehouse.errors import needs_extra

# A column, a cell, and some rows of all columns, as pyarrow has them.
Array: TypeAlias = Any
Scalar: TypeAlias = Any
Rows: TypeAlias = Any
Schema: TypeAlias = Any

with needs_extra("Importing and exporting files need", "pyarrow", extra="parquet"):
    pa: Any = importlib.import_module("pyarrow")
    compute: Any = importlib.import_module("pyarrow.compute")
    csv: Any = importlib.import_module("pyarrow.csv")
    ipc: Any = importlib.import_module("pyarrow.ipc")
    parquet: Any = importlib.import_module("pyarrow.parquet")
