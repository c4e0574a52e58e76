"""Gaps that are planted in a series, and what the sandbox's markets truly did, read past its server.

Which series a campaign has is in `planted_markets`, what is done with them in `test_gap_campaign`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias

from tapehouse.ingest import CandleRequest, SeriesRequest, TradeRequest
from tapehouse.sandbox import Fault, Market
from tapehouse.sandbox.bars import Grid
from tapehouse.timeframe import Timeframe, from_ms, timeframe, to_ms

ONE_MINUTE: Final = timeframe("1m")
MS: Final = timedelta(milliseconds=1)
# Where the exchanges' clock begins, so that what lies beyond a history does not move; it goes on by the seconds
# that a client counts itself.
NOW: Final = datetime(2026, 3, 2, tzinfo=UTC)
BASE: Final = NOW - timedelta(hours=12)
BARS: Final = 600
CANDLE_PATHS: Final = {
    "binance": "klines",
    "binanceusdm": "klines",
    "okx": "candles",
    "bybit": "kline",
    "coinbaseexchange": "/candles",
    "kraken": "OHLC",
}
LEAVES_OUT_EMPTY: Final = {"coinbaseexchange"}
REFUSED: Final[dict[str, Any]] = {"kind": "status", "status": 451}

Rows: TypeAlias = dict[int, tuple[float, ...]]


@dataclass(frozen=True)
class Plant:
    """A gap of so many units (bars, or milliseconds of trades) from that one on; what `lasts` stays as it is."""

    first: int
    units: int
    cause: str
    lasts: bool = False

    @property
    def stop(self) -> int:
        return self.first + self.units


@dataclass
class Planted:
    """One series: from when on it is wanted, how far, and what is planted in it."""

    exchange: str
    symbol: str
    timeframe: Timeframe | None = ONE_MINUTE
    start: datetime = BASE
    units: int = BARS
    plants: list[Plant] = field(default_factory=list[Plant])
    # What the store's own data may fill of it.
    own: range = range(0)

    @property
    def step(self) -> timedelta:
        return self.timeframe.length if self.timeframe else MS

    @property
    def path(self) -> str:
        return CANDLE_PATHS[self.exchange] if self.timeframe else "aggTrades"

    def at(self, unit: int) -> datetime:
        return self.start + unit * self.step

    def request(self, first: int, stop: int) -> SeriesRequest:
        if self.timeframe is None:
            return TradeRequest(self.symbol, self.at(first), self.at(stop))
        return CandleRequest(self.symbol, self.timeframe, self.at(first), self.at(stop))

    def planted(self, *causes: str) -> list[Plant]:
        return [plant for plant in self.plants if plant.cause in causes]

    def answered(self) -> list[tuple[int, int]]:
        """What is asked for while the exchange is sound enough to answer."""
        stops = sorted(self.planted("never_asked", "failed"), key=lambda plant: plant.first)
        firsts = [0, *(plant.stop for plant in stops)]
        ends = [*(plant.first for plant in stops), self.units]
        return [(first, end) for first, end in zip(firsts, ends, strict=True) if first < end]

    def faults(self, *, lasting: bool) -> list[Fault]:
        """What is wrong with the exchange's rows; of what lasts only, or of all."""
        kinds: dict[str, Any] = {"rejected": "negative_price", "exchange_empty": "missing_rows"}
        return [
            Fault(
                kinds[plant.cause],
                path=self.path,
                symbol=self.symbol,
                start_ms=to_ms(self.at(plant.first)),
                end_ms=to_ms(self.at(plant.stop)),
            )
            for plant in self.planted(*kinds)
            if plant.lasts or not lasting
        ]

    def refusal(self) -> Fault:
        return Fault(**REFUSED, path=self.path, symbol=self.symbol)


class Histories:
    """What the sandbox's markets did, read past its server."""

    def __init__(self, markets: Sequence[Market]) -> None:
        self._markets = {(market.exchange, market.symbol): market for market in markets}

    def traded(self, series: Planted, exchange: str | None = None) -> Rows:
        """The candles of the bars in which that exchange, by default the series' own, had trades."""
        market = self._markets[exchange or series.exchange, series.symbol]
        grid, start_ms = Grid(int(series.step / MS)), to_ms(series.start)
        bars = market.history.bars(grid, start_ms, to_ms(series.at(series.units)), now_ms=to_ms(NOW))
        price, lot = 10.0**market.price_decimals, 10.0**market.amount_decimals
        columns = [(getattr(bars, name) / price).tolist() for name in ("open", "high", "low", "close")]
        units = ((bars.open_ms - start_ms) // grid.length_ms).tolist()
        return dict(zip(units, zip(*columns, (bars.volume / lot).tolist(), strict=True), strict=True))

    def given(self, series: Planted, exchange: str | None = None) -> Rows:
        """The candles that the exchange gives: most fill bars without trades with the close before."""
        exchange, rows = exchange or series.exchange, self.traded(series, exchange)
        if exchange in LEAVES_OUT_EMPTY:
            return rows
        market = self._markets[exchange, series.symbol]
        last, end = market.history.last_close(to_ms(series.start)), self.ended(series)
        close = None if last is None else last / 10.0**market.price_decimals
        filled: Rows = {}
        for unit in range(series.units if end is None else end):
            if unit in rows:
                filled[unit], close = rows[unit], rows[unit][3]
            elif close is not None:
                filled[unit] = (close, close, close, close, 0.0)
        return filled

    def begun(self, series: Planted) -> int:
        """The bar of the first trade there ever was."""
        first_ms = self._markets[series.exchange, series.symbol].history.first_ms
        return max(0, (from_ms(first_ms) - series.start) // series.step)

    def ended(self, series: Planted) -> int | None:
        """The bar behind the last one of a market that is no longer traded."""
        end = self.end(series)
        return None if end is None or end > NOW else max(self.traded(series)) + 1

    def end(self, series: Planted) -> datetime | None:
        """When the market ends or ended, if it does."""
        end_ms = self._markets[series.exchange, series.symbol].history.end_ms
        return None if end_ms is None else from_ms(end_ms)

    def trade_times(self, series: Planted) -> list[int]:
        """In which milliseconds of the series there are trades."""
        history = self._markets[series.exchange, series.symbol].history
        first, stop = (history.rank_at(to_ms(series.at(unit)) * 1_000_000) for unit in (0, series.units))
        return ((history.ranked(first, stop).time_ns // 1_000_000) - to_ms(series.start)).tolist()
