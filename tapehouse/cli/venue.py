"""Which server stands for the exchange during a command: the exchange itself, a gateway, or the sandbox."""

from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from tapehouse.config import settings_from_environment
from tapehouse.errors import MissingExtra, UnknownExchange, needs_extra

if TYPE_CHECKING:
    from types import ModuleType

# Of the generated markets: any constant does, and with the same one history is the same every time.
SANDBOX_SEED: Final = 7


@contextmanager
def exchange_address(*exchange_ids: str, sandbox: bool, exchange_url: str | None) -> Generator[str | None]:
    """The address to route the exchanges' requests through, None for the exchanges themselves.

    An address that was given, or is in TAPEHOUSE_EXCHANGE_URL, is taken; else `sandbox` starts a
    sandbox exchange that lives as long as the block. Raises UnknownExchange for one that there is not,
    or that the sandbox does not play, MissingExtra and ServiceError.
    """
    from tapehouse.exchange.names import require_exchange

    for exchange_id in exchange_ids:
        require_exchange(exchange_id)
    address = exchange_url or settings_from_environment().exchange_url
    if address is not None or not sandbox:
        yield address
        return
    package = sandbox_package()
    markets = package.generated_markets(seed=SANDBOX_SEED)
    played = {market.exchange for market in markets}
    for exchange_id in exchange_ids:
        _require_played(exchange_id, played)
    with package.Sandbox(markets) as running:
        yield running.url


def require_exchange_name(exchange_id: str | None) -> None:
    """Raise UnknownExchange for a name under which nothing could ever be stored: not ccxt's name of any exchange."""
    if exchange_id is None:
        return
    from tapehouse.exchange.names import require_exchange

    # Where ccxt is not installed, nobody can tell.
    with suppress(MissingExtra):
        require_exchange(exchange_id)


def sandbox_package() -> "ModuleType":
    """The package `tapehouse.sandbox`; raises MissingExtra where what it needs is not installed."""
    with needs_extra("The sandbox exchange needs", "aiohttp", "pyarrow", extra="sandbox"):
        import tapehouse.sandbox
    return tapehouse.sandbox


def _require_played(exchange_id: str, played: Iterable[str]) -> None:
    if exchange_id not in played:
        raise UnknownExchange(f"The sandbox plays no exchange {exchange_id!r}: use {', '.join(sorted(played))}.")
