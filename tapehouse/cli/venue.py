"""Which server stands for the exchange during a command: the exchange itself, a gateway, or the sandbox."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from tapehouse.config import settings_from_environment
from tapehouse.errors import needs_extra

if TYPE_CHECKING:
    from types import ModuleType

# Of the generated markets: any constant does, and with the same one history is the same every time.
SANDBOX_SEED: Final = 7


@contextmanager
def exchange_address(*, sandbox: bool, exchange_url: str | None) -> Generator[str | None]:
    """The address to route the exchange's requests through, None for the exchange itself.

    An address that was given, or is in TAPEHOUSE_EXCHANGE_URL, is taken; else `sandbox` starts a
    sandbox exchange that lives as long as the block. Raises MissingExtra and ServiceError.
    """
    address = exchange_url or settings_from_environment().exchange_url
    if address is not None or not sandbox:
        yield address
        return
    package = sandbox_package()
    with package.Sandbox(package.generated_markets(seed=SANDBOX_SEED)) as running:
        yield running.url


def sandbox_package() -> "ModuleType":
    """The package `tapehouse.sandbox`; raises MissingExtra where what it needs is not installed."""
    with needs_extra("The sandbox exchange needs", "aiohttp", "pyarrow", extra="sandbox"):
        import tapehouse.sandbox
    return tapehouse.sandbox
