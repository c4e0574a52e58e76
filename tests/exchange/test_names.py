import ccxt
import pytest

from tapehouse.errors import UnknownExchange
from tapehouse.exchange.names import require_exchange


@pytest.mark.parametrize("exchange_id", ccxt.exchanges)
def test_every_exchange_of_ccxt_is_known(exchange_id: str) -> None:
    require_exchange(exchange_id)


@pytest.mark.parametrize("name", ["binanc", "Binance", "__init__", "exchange", ""])
def test_no_other_is(name: str) -> None:
    with pytest.raises(UnknownExchange):
        require_exchange(name)
