"""Labels of files as earlier versions wrote them."""

import json
from datetime import UTC, datetime
from pathlib import Path

from tapehouse.files.label import FileLabel, label_beside, read_label_beside
from tests.files.exported import made_listing


def test_a_label_of_before_the_lot_size_is_understood(tmp_path: Path):
    start, end = datetime(2025, 5, 1, tzinfo=UTC), datetime(2025, 5, 2, tzinfo=UTC)
    label = FileLabel(made_listing("kraken"), "trade", None, start, end, ((start, end),), (), 3, start)
    told = json.loads(label_beside(label, sha256="00"))
    assert told["instrument"].pop("lot_size") == 0.001
    (tmp_path / "trades.csv.json").write_text(json.dumps(told))

    found = read_label_beside(tmp_path / "trades.csv", sha256="00")

    assert found is not None
    assert (found.listing.lot_size, found.listing.tick_size) == (None, 0.01)
    assert found.has_rows_of(label)
