"""The end of a video whose windows are all classified."""

from __future__ import annotations

from typing import Any

from peclip_fast.analyze.analyzer import versions
from peclip_fast.analyze.pipeline.session import Session
from peclip_fast.analyze.tables import TableWriter

_OUTSIDE = 0.2  # share of the crops that may lie outside of the frame


def conclude(
    session: Session, tables: TableWriter, about: dict[str, Any], notes: list[str]
) -> None:
    """Write the last rows and run.json, with which the tables are whole.

    Args:
        session: of the video.
        tables: its rows.
        about: for run.json.
        notes: what a user should know; gets what only the whole video tells.
    """
    session.finish()
    if session.outside > _OUTSIDE:
        notes.append(
            f"{session.outside:.0%} of a crop like the training clips' lies outside of the "
            "picture: this video is cropped closer"
        )
    counts = {"people": tables.people, "faces": tables.faces, "frames_analyzed": session.frames}
    tables.close({**about, **counts, "notes": notes, "versions": versions()})
