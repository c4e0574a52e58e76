"""Which server stands for the exchange during a command: the exchange itself, a gateway, or the sandbox."""

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from tapehouse.config import settings_from_environment
from tapehouse.errors import UnknownExchange, needs_extra

if TYPE_CHECKING:
    from types import ModuleType

# Of the generated markets: any constant does, and with the same one history is the same every time.
SANDBOX_SEED: Final = 7


@contextmanager
def exchange_address(exchange_id: str, *, sandbox: bool, exchange_url: str | None) -> Generator[str | None]:
    """The address to route the exchange's requests through, None for the exchange itself.

    An address that was given, or is in TAPEHOUSE_EXCHANGE_URL, is taken; else `sandbox` starts a
    sandbox exchange that lives as long as the block. Raises UnknownExchange for one that the sandbox
    does not play, MissingExtra and ServiceError.
    """
    address = exchange_url or settings_from_environment().exchange_url
    if address is not None or not sandbox:
        yield address
        return
    package = sandbox_package()
    markets = package.generated_markets(seed=SANDBOX_SEED)
    _require_played(exchange_id, {market.exchange for market in markets})
    with package.Sandbox(markets) as running:
        yield running.url


def sandbox_package() -> "ModuleType":
    """The package `tapehouse.sandbox`; raises MissingExtra where what it needs is not installed."""
    with needs_extra("The sandbox exchange needs", "aiohttp", "pyarrow", extra="sandbox"):
        import tapehouse.sandbox
    return tapehouse.sandbox


def _require_played(exchange_id: str, played: Iterable[str]) -> None:
    if exchange_id not in played:
        raise UnknownExchange(f"The sandbox plays no exchange {exchange_id!r}: use {', '.join(sorted(played))}.")
