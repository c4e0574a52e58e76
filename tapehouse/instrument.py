"""Instruments: one market of one exchange, and the scale its numbers are stored in.

How an exchange describes its markets is read in `tapehouse.exchange`; how instruments are
kept is `tapehouse.store.instruments`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

Kind = Literal["spot", "swap", "future", "option"]
AmountUnit = Literal["base", "contract"]


@dataclass(frozen=True, slots=True)
class Listing:
    """A market as the exchange describes it today.

    `tick_size` is the smallest step of prices in quote units, `lot_size` that of amounts in the units of trades;
    `contract_size` is in base units. `amount_unit` says what volumes of candles count, `trade_unit` what amounts
    of trades and order books do.
    `price_decimals` and `amount_decimals` are the decimal places that the exchange announces,
    which its data may exceed. `from_sandbox` says that it was the sandbox that answered.
    """

    exchange: str
    symbol: str
    base: str
    quote: str
    settle: str | None
    kind: Kind
    contract_size: float | None
    amount_unit: AmountUnit
    trade_unit: AmountUnit
    tick_size: float | None
    lot_size: float | None
    price_decimals: int
    amount_decimals: int
    active: bool
    from_sandbox: bool
    raw: Mapping[str, object] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Instrument:
    """A stored instrument; prices are kept as whole multiples of 10^-price_decimals, amounts likewise.

    The decimals grow when a value comes that needs more (see `tapehouse.store.widening`),
    so a write reads them anew under the series' lock.
    """

    instrument_id: int
    exchange: str
    symbol: str
    base: str
    quote: str
    settle: str | None
    kind: Kind
    contract_size: float | None
    amount_unit: AmountUnit
    trade_unit: AmountUnit
    tick_size: float | None
    lot_size: float | None
    price_decimals: int
    amount_decimals: int
    active: bool
    from_sandbox: bool
    first_seen_at: datetime
    last_seen_at: datetime
