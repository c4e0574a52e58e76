"""A market of the sandbox: what an exchange says about it, and the history behind it."""

from dataclasses import dataclass, field

from tapehouse.sandbox.bars import History


@dataclass(frozen=True, slots=True)
class Market:
    """One market; `exchange` and `symbol` are written as ccxt writes them.

    `price_decimals` and `amount_decimals` are what the exchange announces; its history may
    exceed them. `active` is false once it is delisted.
    """

    exchange: str
    symbol: str
    price_decimals: int
    amount_decimals: int
    active: bool
    history: History = field(repr=False)

    @property
    def base(self) -> str:
        """What is traded."""
        return self.symbol.split("/")[0]

    @property
    def quote(self) -> str:
        """What prices are written in."""
        return self.symbol.split("/")[1].split(":")[0]


def step(decimals: int) -> str:
    """The smallest number with that many decimals, as exchanges write it: `0.01`."""
    return f"{10.0**-decimals:.{decimals}f}"
