"""What is told of the whole where there is no terminal."""

from __future__ import annotations

from peclip_fast.archive.progress import Progress


def told(ends: list[tuple[float, str | None]], total: int) -> list[str]:
    """The lines of videos that end at these moments."""
    lines: list[str] = []
    now = 0.0
    progress = Progress(total, lines.append, lambda: now)
    for now, error in ends:  # noqa: B007  the clock reads it
        progress.end(error)
    progress.close()
    return lines


def test_a_line_a_minute_with_the_time_that_is_left():
    ends = [(10.0 * k, None) for k in range(1, 14)]
    assert told(ends, 100) == [
        "6 of 100 videos, 0 failed, about 15:40 left",
        "12 of 100 videos, 0 failed, about 14:40 left",
    ]


def test_failures_are_told_at_once_and_counted():
    ends = [(1.0, "a.mp4: no good"), (30.0, None), (90.0, "b.mp4: no good")]
    assert told(ends, 6) == [
        "failed: a.mp4: no good",
        "failed: b.mp4: no good",
        "3 of 6 videos, 2 failed, about 01:30 left",
    ]


def test_the_end_is_told_by_others():
    assert told([(100.0, None)], 1) == []
