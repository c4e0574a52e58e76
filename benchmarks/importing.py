"""How long it takes until `from tapehouse import MarketData` can be used, and what that pulls in."""

import json
import subprocess
import sys
from typing import Final

from benchmarks.figure import Figure
from benchmarks.rounds import take_rounds
from benchmarks.setting import Setting

# What the query side must do without.
HEAVY_PACKAGES: Final = ("prefect", "ccxt", "pandera")
_IMPORT: Final = """
import json, sys, time
started_s = time.perf_counter()
{statement}
taken_s = time.perf_counter() - started_s
print(json.dumps([taken_s, sorted({{name.partition(".")[0] for name in sys.modules}})]))
"""


def import_tapehouse_ms(setting: Setting) -> Figure:
    """A fresh interpreter that imports tapehouse, against one that imports pandas alone."""
    loaded: set[str] = set()

    def import_tapehouse_s() -> float:
        taken_s, packages = _import("from tapehouse import MarketData")
        loaded.update(packages)
        return taken_s

    taken = take_rounds(setting.sizes.rounds, import_tapehouse_s, lambda: _import("import pandas")[0])
    pulled_in = [name for name in HEAVY_PACKAGES if name in loaded]
    note = f"pulls in {', '.join(pulled_in)}" if pulled_in else f"pulls in none of {', '.join(HEAVY_PACKAGES)}"
    return taken.as_cost("import_tapehouse_ms", "ms", scale=1000, baseline="import pandas", note=note)


def _import(statement: str) -> tuple[float, list[str]]:
    """The seconds taken, and the names of all packages that are loaded then."""
    command = [sys.executable, "-c", _IMPORT.format(statement=statement)]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    taken_s, packages = json.loads(output)
    return taken_s, packages
