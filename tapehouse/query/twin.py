"""Writes `async_market` from `market`, so that the two never differ: `make generate`.

Only developers run this: it needs ruff, and is not part of what is installed.
"""

import ast
import subprocess
import sys
from pathlib import Path
from typing import Final

SYNC: Final = Path(__file__).with_name("market.py")
TWIN: Final = Path(__file__).with_name("async_market.py")

_HEAD: Final = '''
"""AsyncMarketData: `MarketData` for asyncio.

Written by `make generate` from `market`: change that one.
"""

from collections.abc import AsyncIterator

from tapehouse.query.awaited import Awaited, Opening
from tapehouse.query.market import MarketData
{imports}

class AsyncMarketData(Awaited):
    """Stored market data as DataFrames, the same as `MarketData` gives; one object serves any number of tasks.

    async with AsyncMarketData.connect() as market:
        candles = await market.candles("binance", "BTC/USDT", "1h", start, end)

    What is in memory is given at once. What has to be read is read in threads, as many at a time as there are
    connections. A task that is cancelled disturbs no other.
    """
'''
_CONNECT: Final = """
    @classmethod
    def connect({parameters}) -> Opening[Self]:
        {docstring}
        return Opening(cls, partial(MarketData.{call}))
"""
_QUESTION: Final = """
    async def {name}({parameters}) -> {returns}:
        {docstring}
        return await self._run(self._market.{call})
"""
# Iterables can't be gone through again, once what was looked for in memory is not there.
_LONG_QUESTION: Final = """
    async def {name}({parameters}) -> {returns}:
        {docstring}
        return await self._in_thread(partial(self._market.{call}))
"""
_ITERATION: Final = """
    def {name}({parameters}) -> Async{returns}:
        {docstring}
        return self._iterate(self._market.{name}({arguments}))
"""


def twin() -> str:
    """The text of `async_market`, as it should be."""
    source = SYNC.read_text(encoding="utf-8")
    module = ast.parse(source)
    imports = "\n".join(ast.unparse(node) for node in module.body if isinstance(node, ast.Import | ast.ImportFrom))
    (market,) = (node for node in module.body if isinstance(node, ast.ClassDef))
    # What is not a question is in `awaited`.
    methods = [
        _method(node, source)
        for node in market.body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and node.name != "close"
    ]
    text = _HEAD.lstrip().format(imports=imports) + "".join(methods)
    # Leaves out the imports that are not needed, and sorts those that are.
    return _ruff("format", text=_ruff("check", "--select", "F401,I", "--fix", text=text))


def _method(method: ast.FunctionDef, source: str) -> str:
    """The awaited form of a method: its signature and docstring, and a call of the original."""
    described = method.body[0]
    assert isinstance(described, ast.Expr)
    assert method.returns
    parameters, returns = ast.unparse(method.args), ast.unparse(method.returns)
    _, *positional = method.args.args
    arguments = [one.arg for one in positional]
    arguments += [f"*{one.arg}" for one in [method.args.vararg] if one]
    arguments += [f"{one.arg}={one.arg}" for one in method.args.kwonlyargs]
    return _form(method.name, parameters, returns).format(
        name=method.name,
        parameters=parameters,
        returns=returns,
        docstring=ast.get_source_segment(source, described),
        arguments=", ".join(arguments),
        call=", ".join([method.name, *arguments]),
    )


def _form(name: str, parameters: str, returns: str) -> str:
    if name == "connect":
        return _CONNECT
    if returns.startswith("Iterator["):
        return _ITERATION
    return _LONG_QUESTION if "Iterable[" in parameters else _QUESTION


def _ruff(*command: str, text: str) -> str:
    done = subprocess.run(  # noqa: S603 -- the text is ours
        [sys.executable, "-m", "ruff", *command, "--quiet", "--stdin-filename", str(TWIN), "-"],
        input=text,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        check=True,
    )
    return done.stdout


if __name__ == "__main__":
    TWIN.write_text(twin(), encoding="utf-8")
