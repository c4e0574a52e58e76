"""The names of the exchanges that ccxt knows, found without importing it: that takes a second or two."""

from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from tapehouse.errors import MissingExtra, UnknownExchange


def require_exchange(exchange_id: str) -> None:
    """Raise UnknownExchange, naming the closest ones, where ccxt knows none of that name; MissingExtra without ccxt."""
    names = _names()
    if exchange_id in names:
        return
    matches = get_close_matches(exchange_id.lower(), sorted(names), n=3)
    hint = f"did you mean {', '.join(matches)}?" if matches else "see ccxt's list of exchanges."
    raise UnknownExchange(f"ccxt knows no exchange {exchange_id!r}: {hint}")


@cache
def _names() -> frozenset[str]:
    """Ccxt has a module of declarations for each exchange, and no others beside them."""
    package = find_spec("ccxt")
    if package is None or package.origin is None:
        raise MissingExtra("Exchanges need ccxt: run pip install 'tapehouse[ingest]'.")
    declared = (Path(package.origin).parent / "abstract").glob("*.py")
    return frozenset(module.stem for module in declared) - {"__init__"}
