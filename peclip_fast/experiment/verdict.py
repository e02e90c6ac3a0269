"""What may be said of two kinds of rows: which are ahead, and whether by more than chance."""

from __future__ import annotations

from collections.abc import Mapping

from peclip_fast.engine.statistics import Estimate
from peclip_fast.experiment.contrast import Contrast

ONE_RUN = "One run of a row gives no interval: take several seeds to compare rows."


def verdict(
    contrast: Contrast, first: Mapping[str, Estimate], second: Mapping[str, Estimate]
) -> str:
    """Whether rows of one kind are ahead of those of the other, by more than the intervals.

    Args:
        contrast: the kinds.
        first: row -> UAR of those that have what the contrast is about; at least one.
        second: of the others; at least one.
    """
    if any(one.margin is None for one in (*first.values(), *second.values())):
        return ONE_RUN
    highest = max(second, key=lambda name: second[name].high)
    high = second[highest].high
    if contrast.each:
        return _each(contrast, first, second, f"reach up to {high:.2f} ({highest})", high)
    lowest = min(first, key=lambda name: first[name].low)
    low = first[lowest].low
    apart = "ahead of" if low > high else "not ahead of"
    return (
        f"By UAR, rows with {contrast.what} ({', '.join(first)}) are {apart} rows "
        f"without ({', '.join(second)}) by more than the 95 % intervals: these reach "
        f"down to {low:.2f} ({lowest}) and up to {high:.2f} ({highest})."
    )


def _each(
    contrast: Contrast,
    first: Mapping[str, Estimate],
    second: Mapping[str, Estimate],
    reach: str,
    high: float,
) -> str:
    told = {name: f"{name} (from {one.low:.2f})" for name, one in first.items()}
    ahead = [told[name] for name, one in first.items() if one.low > high]
    behind = [text for text in told.values() if text not in ahead]
    said = (
        f"By UAR, {len(ahead)} of {len(first)} rows with {contrast.what} {contrast.each} by more "
        f"than the 95 % intervals of the rows without, which can't ({', '.join(second)}) and "
        f"{reach}"
    )
    said += f": {', '.join(ahead)}." if ahead else "."
    return said + (f" Not by more than that: {', '.join(behind)}." if behind else "")
