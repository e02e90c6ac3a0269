"""report.html: the timeline, the video and the tables in one file, which needs no network."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from peclip_fast.analyze.outputs.digest import Digest, Segment, digest
from peclip_fast.analyze.outputs.lanes_svg import WIDTH, colours_css, lanes_svg
from peclip_fast.analyze.outputs.pictures import Frames, face_strips, jpeg
from peclip_fast.analyze.outputs.timeline import clock, summary
from peclip_fast.analyze.results import Analysis, TrackRow, top_class
from peclip_fast.data.decoding.ffmpeg import open_video
from peclip_fast.errors import InputError
from peclip_fast.files import write_text
from peclip_fast.plots.page import Extras, html_page
from peclip_fast.plots.palette import COLOURS

EMBEDDED = 24 << 20  # bytes of a video up to which it is in the page; a larger one is linked
STILLS = 40  # frames that stand for a video that can't be played
_STILL = 480  # pixels of their longer side
_LISTED = 2000  # segments in the page; windows.csv has all
_PLAYED = {".mp4", ".m4v", ".mov", ".webm"}
_CODECS = {"h264", "vp8", "vp9", "av1"}
_PAGE = Path(__file__).parent / "page"
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; "
    "media-src 'self' blob: file:"
)


@dataclass(frozen=True)
class _Shown:
    """The video of the page: the file, or nothing that a browser plays."""

    path: Path | None
    embedded: bool


def write_report(
    analysis: Analysis, path: Path, frames: Frames | None = None, video: Path | None = None
) -> None:
    """Write the page.

    Args:
        analysis: what was found.
        path: of the page.
        frames: of the source, for the pictures of faces and for stills; none without it.
        video: the annotated video, or the source. Up to 24 MiB it becomes part of the page,
            otherwise the page links it, by the path from its own folder.

    Raises:
        InputError: the video can't be read.
    """
    found = digest(analysis)
    shown = _shown(video)
    stills = [] if frames is None or shown.embedded else _stills(analysis, found, frames)
    strips = face_strips(found, frames) if frames else {}
    data = {"data": ("application/json", _data(analysis, found, shown, stills, path))}
    if shown.embedded and shown.path is not None:
        text = base64.b64encode(shown.path.read_bytes()).decode()
        data["video-data"] = ("application/octet-stream", text)
    name = Path(analysis.source).name
    body = "\n".join(_body(analysis, found, shown, lanes_svg(analysis, found, strips)))
    style = colours_css(len(analysis.classes)) + (_PAGE / "report.css").read_text("utf-8")
    script = (_PAGE / "report.js").read_text("utf-8")
    write_text(path, html_page(name, body, Extras(style, script, data, _POLICY)))


def _shown(video: Path | None) -> _Shown:
    if video is None or not video.is_file() or video.suffix.lower() not in _PLAYED:
        return _Shown(None, False)
    try:
        container, stream = open_video(video)
    except InputError:
        return _Shown(None, False)
    with container:
        codec = stream.codec_context
        played = codec.codec.canonical_name in _CODECS and "10" not in (codec.pix_fmt or "")
    return _Shown(video if played else None, played and video.stat().st_size <= EMBEDDED)


def _stills(analysis: Analysis, found: Digest, frames: Frames) -> list[tuple[float, str]]:
    """(seconds, JPEG in base64) of frames all over the video."""
    chosen: dict[int, tuple[int, float]] = {}
    for row in analysis.frames:
        place = int(STILLS * (row.timestamp - found.start) / (found.end - found.start))
        chosen.setdefault(place, (row.frame, row.timestamp))
    times = dict(chosen.values())
    return [
        (round(times[number], 3), base64.b64encode(jpeg(image, _STILL, 70)).decode())
        for number, image in frames(times)
    ]


def _data(
    analysis: Analysis, found: Digest, shown: _Shown, stills: list[tuple[float, str]], page: Path
) -> str:
    numbers = {name: number for number, name in enumerate(analysis.classes)}
    link = None
    if shown.path is not None and not shown.embedded:
        relative = os.path.relpath(shown.path.absolute(), page.absolute().parent)
        link = quote(Path(relative).as_posix(), errors="surrogateescape")
    tracks = [
        {
            "track": one.row.track,
            "start": round(one.row.start, 3),
            "end": round(one.row.end, 3),
            "segments": [
                [round(s.start, 3), round(s.end, 3), numbers[s.prediction],
                 round(s.probability, 3)]
                for s in one.segments
            ],
            "hidden": [[round(a, 3), round(b, 3)] for a, b in one.hidden],
        }
        for one in found.tracks.values()
    ]  # fmt: skip
    data = json.dumps({
        "start": found.start, "end": found.end, "width": WIDTH,
        "colours": len(COLOURS), "classes": analysis.classes, "tracks": tracks,
        "speech": analysis.speech, "video": link, "stills": stills,
    })  # fmt: skip
    return data.replace("<", "\\u003c")  # it may not look like an element


def _body(analysis: Analysis, found: Digest, shown: _Shown, svg: str) -> Iterator[str]:
    yield f"<main><h1>{escape(Path(analysis.source).name)}</h1>"
    yield f'<p class="quiet">{escape(summary(found))}</p>'
    player = '<video id="video" controls playsinline preload="auto"></video>' if shown.path else ""
    missing = (
        "The video isn't where it was when this page was made."
        if shown.path
        else "These are single frames: browsers don't play this video. "
        "<code>analyze --video</code> makes one that they play."
    )
    yield (
        f'<div class="stage" id="stage"><div>{player}<img id="still" alt="" hidden>'
        f'<p class="quiet" id="missing" hidden>{missing}</p></div>\n'
        '<section class="now" aria-label="At this moment"><div class="clock" id="clock"></div>'
        '<ul id="now"></ul></section></div>'
    )
    yield "<h2>Timeline</h2>"
    yield f'<ul class="legend" aria-label="Colours">{"".join(_legend(analysis.classes))}</ul>'
    yield (
        '<p class="hidden" id="keys">Arrow keys move by one second, with Shift by a tenth, Page Up '
        "and Page Down by ten seconds; Space plays and pauses.</p>"
        '<div class="timeline" id="timeline" role="slider" tabindex="0" aria-label="Moment in the '
        f'video" aria-describedby="keys" aria-valuemin="{found.start:.1f}" '
        f'aria-valuemax="{found.end:.1f}" aria-valuenow="{found.start:.1f}">{svg}</div>'
    )
    yield "<h2>Tracks</h2>"
    yield _table(
        ("track", "from", "to", "frames with a face", "windows", "prediction", *analysis.classes),
        [_track_cells(one.row, analysis.classes) for one in found.tracks.values()],
        "Mean probabilities over a track's windows",
    )
    yield "<h2>Who shows what, when</h2>"
    yield from _segment_tables(found)
    yield "<h2>How this was made</h2>"
    yield f"<dl>{''.join(_facts(analysis.about))}</dl></main>"


def _legend(classes: Sequence[str]) -> Iterator[str]:
    for number, name in enumerate(classes):
        square = f'<svg viewBox="0 0 1 1"><rect class="k{number}" width="1" height="1"/></svg>'
        yield f'<li><span class="swatch">{square}</span>{escape(name)}</li>'


def _moment(time: float) -> str:
    return f'<button type="button" data-time="{time:.3f}">{clock(time)}</button>'


def _track_cells(row: TrackRow, classes: tuple[str, ...]) -> list[str]:
    values = row.probabilities
    shares = [""] * len(classes) if values is None else [f"{100 * v:.1f} %" for v in values]
    name = top_class(classes, values) or "too short"
    return [str(row.track), _moment(row.start), _moment(row.end), str(row.frames),
            str(row.windows), escape(name), *shares]  # fmt: skip


def _segment_tables(found: Digest) -> Iterator[str]:
    """A table for each track, folded; of very many segments only the first are there."""
    left = _LISTED
    for one in found.tracks.values():
        listed, left = one.segments[:left], left - len(one.segments[:left])
        more = len(one.segments) - len(listed)
        note = f"<p>{more} more are in windows.csv.</p>" if more else ""
        table = _table(
            ("from", "to", "seconds", "prediction", "probability"),
            [_segment_cells(segment) for segment in listed],
            f"Track {one.row.track}",
        )
        count = "1 segment" if len(one.segments) == 1 else f"{len(one.segments)} segments"
        yield f"<details><summary>Track {one.row.track}: {count}</summary>{table}{note}</details>"


def _segment_cells(one: Segment) -> list[str]:
    return [_moment(one.start), _moment(one.end), f"{one.end - one.start:.2f}",
            escape(one.prediction), f"{100 * one.probability:.1f} %"]  # fmt: skip


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    """A table whose cells are HTML; it scrolls by itself where the window is narrow."""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    body = "\n".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>\n"
        f"<tbody>{body}</tbody></table></div>"
    )


def _facts(about: dict[str, Any], before: str = "") -> Iterator[str]:
    """run.json as terms and values; what the page shows anyway is left out."""
    for name, value in about.items():
        if name in ("classes", "cuts", "speech") and not before:
            continue
        if isinstance(value, dict):
            yield from _facts(value, f"{before}{name} ")
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            yield f"<dt>{escape(before + name)}</dt><dd>{escape(text)}</dd>"
