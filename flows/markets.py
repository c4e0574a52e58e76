"""Markets as the forms of flows ask for them, and their names in the names of runs."""

from collections.abc import Sequence
from typing import Final

from pydantic import BaseModel, Field

# So many are named in a run's name.
_NAMED: Final = 2


class Markets(BaseModel):
    """Symbols of one exchange."""

    exchange: str = Field(description="The exchange, by ccxt's name for it, for example binance.")
    symbols: list[str] = Field(min_length=1, description="Symbols as ccxt writes them: BTC/USDT, BTC/USDT:USDT.")


def named(markets: Sequence[Markets]) -> str:
    """The first markets by name, and how many more there are."""
    names = [f"{one.exchange} {symbol}" for one in markets for symbol in one.symbols]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"
