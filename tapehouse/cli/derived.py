"""What is derived from stored data, brought up to date after a command wrote: rollups, trade candles, features."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tapehouse.cli.output import utc_text

if TYPE_CHECKING:
    from tapehouse.ranges import TimeRange


@dataclass(frozen=True, slots=True)
class Derived:
    """The ranges over which each kind of derived data was refreshed; `left_to` is whom rollups were left to, if so."""

    rollups: "Sequence[TimeRange]" = ()
    trade_candles: "Sequence[TimeRange]" = ()
    features: "Sequence[TimeRange]" = ()
    left_to: str | None = None

    def as_json(self) -> dict[str, list[dict[str, object]]]:
        """The same for a JSON document."""
        named = {
            "rollups_refreshed": self.rollups,
            "trade_candles_refreshed": self.trade_candles,
            "features_refreshed": self.features,
        }
        return {name: [{"start": start, "end": end} for start, end in ranges] for name, ranges in named.items()}


def refresh_derived(database_url: str, *, progress: "Callable[[str, TimeRange], None] | None" = None) -> Derived:
    """Refresh all of it over exactly what was written since the last time; raises StoreError."""
    from tapehouse.store.connection import connect
    from tapehouse.store.features import refresh_features
    from tapehouse.store.rollups import refresh_rollups

    with connect(database_url) as connection:
        rollups = refresh_rollups(connection, progress=progress)
        features = refresh_features(connection, progress=progress)
    return Derived(rollups.candles, rollups.trade_candles, features.ranges, rollups.left_to)


def tell_derived(derived: Derived, say: Callable[[str], None]) -> None:
    """Say what was refreshed, a line a range."""
    named = {
        "Rollups": derived.rollups,
        "Candles built from trades": derived.trade_candles,
        "Features": derived.features,
    }
    for name, ranges in named.items():
        for start, end in ranges:
            say(f"{name} refreshed from {utc_text(start)} to {utc_text(end)} UTC.")
    if derived.left_to:
        say(f"Rollups are left to {derived.left_to}, who owns them; until a `tapehouse refresh`, answers do without.")
