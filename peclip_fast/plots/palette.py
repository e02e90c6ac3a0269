"""Colours that all eyes tell apart (Okabe and Ito), and a marker for each."""

from __future__ import annotations

from typing import NamedTuple

BLACK, ORANGE, SKY, GREEN, BLUE, RED, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
GREY = "#777777"
COLOURS = (BLUE, ORANGE, GREEN, RED, SKY, PURPLE, BLACK, GREY)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h", "*")


class Look(NamedTuple):
    """How one class is drawn."""

    colour: str
    marker: str


def look(number: int) -> Look:
    """Of a class by its number. The first 88 differ in colour or marker, the first 11 in marker."""
    return Look(COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)])
