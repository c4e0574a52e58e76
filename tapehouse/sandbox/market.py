"""A market of the sandbox: what an exchange says about it, and the history behind it."""

from dataclasses import dataclass, field
from datetime import datetime

from tapehouse.sandbox.tape import History


@dataclass(frozen=True, slots=True)
class Market:
    """One market; `exchange` and `symbol` are written as ccxt writes them.

    `price_decimals` and `amount_decimals` are what the exchange announces; its history may
    exceed them. `active` is false once it is delisted; of what is not `listed` the exchange knows
    nothing. Amounts of its trades and books count contracts of `contract_size` where that is given:
    in base, or in quote where it is inverse.
    """

    exchange: str
    symbol: str
    price_decimals: int
    amount_decimals: int
    active: bool
    history: History = field(repr=False)
    contract_size: float | None = None
    listed: bool = True

    @property
    def base(self) -> str:
        """What is traded."""
        return self.symbol.split("/")[0]

    @property
    def quote(self) -> str:
        """What prices are written in."""
        return self.symbol.split("/")[1].split(":")[0]

    @property
    def settle(self) -> str | None:
        """What a derivative is settled in."""
        return _settle(self.symbol)

    @property
    def inverse(self) -> bool:
        """Whether it is settled in what is traded."""
        return is_inverse(self.symbol)

    @property
    def expires_ms(self) -> int | None:
        """When a dated future is settled: at 08:00 UTC of the day that its symbol ends with."""
        day = self.symbol.partition(":")[2].partition("-")[2]
        return int(datetime.strptime(f"{day}T08Z", "%y%m%dT%H%z").timestamp() * 1000) if day else None

    def is_listed(self, now_ms: int) -> bool:
        """Whether the exchange still names it among its markets."""
        return self.expires_ms is None or now_ms < self.expires_ms


def is_inverse(symbol: str) -> bool:
    """Whether a contract of that symbol is settled in what is traded."""
    return _settle(symbol) == symbol.split("/")[0]


def step(decimals: int) -> str:
    """The smallest number with that many decimals, as exchanges write it: `0.01`."""
    return f"{10.0**-decimals:.{decimals}f}"


def _settle(symbol: str) -> str | None:
    return symbol.partition(":")[2].partition("-")[0] or None
