"""Lengths of time, sizes and counts as people read them."""

from datetime import timedelta

from tapehouse.moments import span_text


def span(seconds: float) -> str:
    """A length of time in seconds, as in `3d 4h`."""
    return span_text(timedelta(seconds=round(seconds)))


def size(count: float) -> str:
    """A number of bytes, as in `1.5 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        # From there on three digits would be told as 1e+03.
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.0f} TB" if count >= 999.5 else f"{count:.3g} TB"


def counted(count: int, one: str) -> str:
    """So many of what one is called, as in `1 gap` or `1,200 gaps`."""
    return f"{count:,} {one}{'' if count == 1 else 's'}"
