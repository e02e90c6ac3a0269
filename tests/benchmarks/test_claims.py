"""What counts as a figure in a text."""

from __future__ import annotations

import pytest

from benchmarks.claims import claims


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("is 1.9x faster", [("ratio", "1.9")]),
        ("is 1.9× faster", [("ratio", "1.9")]),
        ("is\n1,200\ntimes as fast", [("ratio", "1200")]),
        ("three times as fast", [("ratio", "3")]),
        ("2.0 times slower", [("slower", "2.0")]),
        ("12 ms, 3 µs, 4.5 clips/s, 60 frames/s, 70/s", [
            ("ms", "12"), ("µs", "3"), ("clips/s", "4.5"), ("frames/s", "60"), ("frames/s", "70"),
        ]),
        ("640x360 at 16 x 199 x 768, 4.3 TB/s, torch 2.15, 80 seconds, three times a day", []),
        ("`9 ms` and\n```\n8 ms\n```\n", []),
    ],
)  # fmt: skip
def test_claims(text: str, found: list[tuple[str, str]]) -> None:
    assert [(claim.kind, claim.number) for claim in claims(text)] == found
