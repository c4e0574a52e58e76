"""The colors of the states, on light and on dark ground, which readers with any color vision can tell apart."""

from typing import Final

from tapehouse.lanes import State

LIGHT: Final[dict[State, str]] = {
    "unasked": "#f0f2f5",
    "outside": "#dfe3e8",
    "rows": "#2f7fc1",
    "empty": "#a5cdf0",
    "dropped": "#9aa4b1",
    "substituted": "#8059b8",
    "missing": "#f2a93b",
    "beyond": "#8c6d4f",
    "rejected": "#d6579b",
    "failed": "#cf3030",
}
DARK: Final[dict[State, str]] = {
    "unasked": "#22272e",
    "outside": "#343b45",
    "rows": "#3f8fd2",
    "empty": "#2a5f8c",
    "dropped": "#69737f",
    "substituted": "#9d7bd3",
    "missing": "#e39b2d",
    "beyond": "#a58768",
    "rejected": "#e071ae",
    "failed": "#ea5350",
}
