"""The timeline of the page, as SVG: the same lanes as timeline.png, in the page's own colours."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from html import escape

import numpy as np

from peclip_fast.analyze.outputs.digest import BINS, Digest, TrackDigest
from peclip_fast.analyze.outputs.pictures import Image8, strip_jpeg
from peclip_fast.analyze.outputs.timeline import clock, runs, ticks
from peclip_fast.analyze.results import Analysis
from peclip_fast.plots.palette import COLOURS

WIDTH = 1200  # of the time, in units of the drawing
_FACE = WIDTH / 24
_HEAD, _CURVES, _LABELS, _GAP, _RULER, _EVENTS = 20, 64, 22, 14, 26, 18
_LETTER = 7.2  # width of a letter


def lanes_svg(analysis: Analysis, found: Digest, strips: dict[int, dict[int, Image8]]) -> str:
    """The drawing; its element with the class ``head`` is where the video stands."""
    scale = _Scale(found)
    pieces = [_hatching()]
    y = float(_RULER)
    if analysis.speech is not None:
        pieces.append(_title(y, "Speech"))
        y += _HEAD
        pieces.append(f'<rect class="empty" x="0" y="{y}" width="{WIDTH}" height="{_EVENTS}"/>')
        pieces += [
            f'<rect class="speech" x="{scale(start):.1f}" y="{y}" '
            f'width="{max(1, scale(end) - scale(start)):.1f}" height="{_EVENTS}"/>'
            for start, end in analysis.speech
        ]
        y += _EVENTS + _GAP
    for tracks in found.lanes:
        parts = [found.tracks[track] for track in tracks]
        pieces.append(_title(y, _names(parts)))
        y += _HEAD
        if strips:
            merged = {c: face for track in tracks for c, face in strips[track].items()}
            pieces.append(_strip(f"faces{tracks[0]}", merged, y))
            y += _FACE
        pieces.append(f'<rect class="empty" x="0" y="{y}" width="{WIDTH}" height="{_CURVES}"/>')
        for part in parts:
            pieces += [*_areas(part, y, len(analysis.classes)), *_gaps(part, y, scale)]
        y += _CURVES + 2
        for part in parts:
            pieces += _segments(part, y, scale, analysis.classes)
        y += _LABELS + _GAP
    if not found.lanes:
        pieces.append(_title(y, "No face was found."))
        y += 2 * _HEAD
    pieces += _ruler(found, scale, y)
    pieces += [
        f'<line class="cut" x1="{scale(cut):.1f}" x2="{scale(cut):.1f}" y1="{_RULER - 6}" '
        f'y2="{y}"><title>cut at {clock(cut)}</title></line>'
        for cut in analysis.cuts
    ]
    pieces.append(f'<line class="head" x1="0" x2="0" y1="{_RULER - 8}" y2="{y}"/>')
    inner = "\n".join(pieces)
    return f'<svg viewBox="0 0 {WIDTH} {y:.0f}" aria-hidden="true">\n{inner}\n</svg>'


def colours_css(classes: int) -> str:
    """The colours of the classes, for light pages and dark ones."""
    light = "".join(f"--k{n}: {colour};" for n, colour in enumerate(COLOURS))
    # Black can't be seen on a dark page.
    dark = f"--k{COLOURS.index('#000000')}: #F0F0F0;"
    rules = "".join(f".k{n} {{ fill: var(--k{n % len(COLOURS)}); }}\n" for n in range(classes))
    return (
        f":root {{ {light} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n{rules}"
    )


class _Scale:
    def __init__(self, found: Digest) -> None:
        self.start, self.span = found.start, found.end - found.start

    def __call__(self, time: float) -> float:
        return min(max((time - self.start) / self.span, 0.0), 1.0) * WIDTH


def _hatching() -> str:
    return (
        '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" '
        'patternTransform="rotate(45)"><rect class="page" width="6" height="6"/>'
        '<rect class="stripe" width="1.5" height="6"/></pattern></defs>'
    )


def _title(y: float, text: str) -> str:
    return f'<text class="title" x="2" y="{y + 15}">{escape(text)}</text>'


def _names(parts: list[TrackDigest]) -> str:
    if len(parts) == 1:
        row = parts[0].row
        return f"Track {row.track}, {clock(row.start)} to {clock(row.end)}"
    return "Tracks " + ", ".join(str(part.row.track) for part in parts)


def _strip(name: str, cells: dict[int, Image8], y: float) -> str:
    """The faces of a lane; of the cells without one nothing is shown."""
    boxes = "".join(
        f'<rect x="{cell * _FACE}" y="{y}" width="{_FACE}" height="{_FACE}"/>' for cell in cells
    )
    data = base64.b64encode(strip_jpeg(cells)).decode()
    return (
        f'<clipPath id="{name}">{boxes}</clipPath>'
        f'<image x="0" y="{y}" width="{WIDTH}" height="{_FACE}" clip-path="url(#{name})" '
        f'preserveAspectRatio="none" href="data:image/jpeg;base64,{data}"/>'
    )


def _areas(part: TrackDigest, y: float, classes: int) -> Iterator[str]:
    """The probabilities one above another, a unit of the path a bin wide and a hundredth high."""
    paths = [""] * classes
    for first, last in runs(part):
        tops = np.cumsum(np.nan_to_num(part.curve[first:last]), axis=1)
        heights = np.rint(100 * (1 - np.clip(tops, 0, 1))).astype(int)
        for number in range(classes):
            under = heights[:, number - 1] if number else np.full(last - first, 100)
            paths[number] += _area(first, heights[:, number].tolist(), under.tolist())
    move = f"translate(0 {y}) scale({WIDTH / BINS:.6f} {_CURVES / 100})"
    for number, path in enumerate(paths):
        if path:
            yield f'<path class="k{number}" transform="{move}" d="{path}"/>'


def _area(first: int, above: list[int], below: list[int]) -> str:
    """A closed area between two flights of steps; flat parts take no room."""
    if above == below:
        return ""
    there, back = [f"M{first} {above[0]}"], []
    for n in range(1, len(above)):
        if above[n] != above[n - 1]:
            there.append(f"H{first + n}V{above[n]}")
        if below[n] != below[n - 1]:
            back.append(f"H{first + n}V{below[n - 1]}")
    end = f"H{first + len(above)}V{below[-1]}"
    return "".join([*there, end, *reversed(back), f"H{first}Z"])


def _gaps(part: TrackDigest, y: float, scale: _Scale) -> Iterator[str]:
    for start, end in part.hidden:
        yield (
            f'<rect fill="url(#hatch)" x="{scale(start):.1f}" y="{y}" '
            f'width="{max(1, scale(end) - scale(start)):.1f}" height="{_CURVES}"/>'
        )


def _segments(
    part: TrackDigest, y: float, scale: _Scale, classes: tuple[str, ...]
) -> Iterator[str]:  # fmt: skip
    for one in part.segments:
        number, left = classes.index(one.prediction), scale(one.start)
        width = max(0.3, scale(one.end) - left)
        yield (
            f'<rect class="k{number}" x="{left:.1f}" y="{y}" width="{width:.1f}" '
            f'height="{_LABELS}"/>'
        )
        for text in (one.prediction, one.prediction[:3]):
            if len(text) * _LETTER < 0.96 * width:
                yield (
                    f'<text class="on i{number % len(COLOURS)}" x="{left + width / 2:.1f}" '
                    f'y="{y + 15}">{escape(text)}</text>'
                )
                break


def _ruler(found: Digest, scale: _Scale, bottom: float) -> Iterator[str]:
    times = ticks(found.start, found.end, 12)
    for time in times:
        x, side = scale(time), "middle"
        if x < 20 or x > WIDTH - 20:
            side = "start" if x < 20 else "end"
        yield f'<line class="tick" x1="{x:.1f}" x2="{x:.1f}" y1="{_RULER - 6}" y2="{bottom}"/>'
        yield f'<text class="time" x="{x:.1f}" y="14" text-anchor="{side}">{clock(time, times)}</text>'  # fmt: skip  # noqa: E501
