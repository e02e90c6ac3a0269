"""Looks of classes."""

from __future__ import annotations

from peclip_fast.plots.palette import look


def test_no_two_classes_look_the_same():
    assert len({look(number) for number in range(88)}) == 88
    assert (
        len({look(number).marker for number in range(11)}) == 11
    )  # MAFW's classes, without colour
