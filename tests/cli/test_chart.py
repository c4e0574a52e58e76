from pathlib import Path

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from tapehouse.chart import save_candlesticks
from tapehouse.errors import InputError


def _candles(closes: list[float]) -> pd.DataFrame:
    index = pd.date_range("2025-05-01", periods=len(closes), freq="1h", tz="UTC", name="time")
    opens = [closes[0], *closes[:-1]]
    frame = pd.DataFrame({"open": opens, "close": closes, "volume": 1.0}, index=index)
    return frame.assign(high=frame.max(axis="columns") + 1, low=frame[["open", "close"]].min(axis="columns") - 1)


@pytest.mark.parametrize(
    ("closes", "is_green"),
    [([100.0, 101.0, 102.0, 103.0], True), ([103.0, 102.0, 101.0, 100.0], False)],
    ids=["rising", "falling"],
)
def test_rising_candles_are_green_and_falling_ones_red(tmp_path: Path, closes: list[float], is_green: bool) -> None:
    path = tmp_path / "chart.png"

    save_candlesticks(_candles(closes), path, title="BTC/USDT")

    pixels = np.asarray(matplotlib.image.imread(path))[..., :3]
    green = int(((pixels[..., 1] > 0.45) & (pixels[..., 0] < 0.2)).sum())
    red = int(((pixels[..., 0] > 0.65) & (pixels[..., 1] < 0.3)).sum())
    # The first candle closes where it opened: a thin green line.
    assert (green > red) is is_green
    assert (red == 0) is is_green


def test_a_chart_needs_two_candles(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs two candles"):
        save_candlesticks(_candles([100.0]), tmp_path / "chart.png", title="BTC/USDT")
