"""What of an analysis the page and other programs are told: people, segments, windows."""

from __future__ import annotations

from typing import Any

from peclip_fast.analyze.outputs.digest import Digest, TrackDigest
from peclip_fast.analyze.outputs.lanes_svg import WIDTH
from peclip_fast.analyze.results import Analysis, WindowRow, top_class

_FIGURES = 6  # decimals of seconds and probabilities, as in the tables


def outcome(analysis: Analysis, found: Digest, video: str) -> dict[str, Any]:
    """All but the frames' rows.

    Args:
        analysis: what was found.
        found: its digest.
        video: name of the annotated video.
    """
    return {
        "classes": analysis.classes,
        "start": found.start,
        "end": found.end,
        "width": WIDTH,
        "video": video,
        "frames": found.frames,
        "frames_without_face": found.faceless,
        "cuts": analysis.cuts,
        "notes": analysis.about.get("notes", []),
        "tracks": [_track(analysis, one) for one in found.tracks.values()],
        "about": {
            name: value
            for name, value in analysis.about.items()
            if name not in ("source", "classes", "cuts", "speech", "notes")
        },
    }


def _track(analysis: Analysis, one: TrackDigest) -> dict[str, Any]:
    row, classes = one.row, analysis.classes
    windows = [window for window in analysis.windows if window.track == row.track]
    return {
        "track": row.track,
        "start": row.start,
        "end": row.end,
        "frames": row.frames,
        "prediction": top_class(classes, row.probabilities),
        "probabilities": _by_class(classes, row.probabilities),
        "segments": [
            {
                "start": segment.start,
                "end": segment.end,
                "prediction": segment.prediction,
                "probability": round(segment.probability, _FIGURES),
            }
            for segment in one.segments
        ],
        "hidden": one.hidden,
        "windows": [_window(classes, number, window) for number, window in enumerate(windows)],
    }


def _window(classes: tuple[str, ...], number: int, window: WindowRow) -> dict[str, Any]:
    return {
        "window": number,
        "start": window.start,
        "end": window.end,
        "first_frame": window.first_frame,
        "last_frame": window.last_frame,
        "prediction": top_class(classes, window.probabilities),
        "probabilities": _by_class(classes, window.probabilities),
    }


def _by_class(
    classes: tuple[str, ...], values: tuple[float, ...] | None
) -> dict[str, float] | None:
    return None if values is None else dict(zip(classes, values, strict=True))
