"""timeline.png: who shows what, when. A lane for each person, from the first frame to the last."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from peclip_fast.analyze.outputs.digest import CELLS, Digest, TrackDigest, digest
from peclip_fast.analyze.outputs.pictures import Frames, Image8, face_strips
from peclip_fast.analyze.results import Analysis, top_class
from peclip_fast.files import write_bytes
from peclip_fast.plots.palette import look

_DPI = 120
_WIDTH = 15.0  # inches of the time
_LEFT, _RIGHT, _TOP, _BOTTOM = 1.9, 0.35, 1.15, 0.5
_FACES = _WIDTH / CELLS
_CURVES, _LABELS, _GAP = 0.95, 0.26, 0.32
_EVENTS = 0.24  # of the speech
_LETTER = 0.083  # inches of a letter of a segment's name
_NICE = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)  # seconds


def draw(analysis: Analysis, path: Path, frames: Frames | None = None) -> None:
    """Write the picture as PNG.

    Args:
        analysis: what was found.
        path: of the file.
        frames: of the video, for the pictures of faces; there are none without it.

    Raises:
        InputError: the video can't be read.
    """
    found = digest(analysis)
    strips = face_strips(found, frames) if frames else {}
    write_bytes(path, timeline_png(analysis, found, strips))


def timeline_png(
    analysis: Analysis, found: Digest, strips: dict[int, dict[int, Image8]]
) -> bytes:  # fmt: skip
    """The picture.

    Args:
        analysis: what was found.
        found: of it.
        strips: faces by track and cell.
    """
    faces = _FACES if strips else 0.0
    lane = faces + _CURVES + _LABELS
    speech = 0.0 if analysis.speech is None else _EVENTS + 0.12
    rows = max(1, len(found.lanes))
    height = _TOP + speech + rows * (lane + _GAP) + _BOTTOM
    figure = Figure((_LEFT + _WIDTH + _RIGHT, height), dpi=_DPI)
    y = height - _TOP
    if analysis.speech is not None:
        y -= _EVENTS
        _speech(_axes(figure, y, _EVENTS, found), analysis.speech)
        y -= 0.12
    for tracks in found.lanes:
        parts = [found.tracks[track] for track in tracks]
        if strips:
            y -= faces
            _strip(_axes(figure, y, faces, found), found, parts, strips)
        y -= _CURVES
        axes = _axes(figure, y, _CURVES, found)
        _curves(axes, analysis, found, parts)
        _name(axes, analysis, parts)
        y -= _LABELS
        _segments(_axes(figure, y, _LABELS, found), analysis, found, parts)
        y -= _GAP
    if not found.lanes:
        y -= lane
        _empty(_axes(figure, y, lane, found))
        y -= _GAP
    shared = any(len(tracks) > 1 for tracks in found.lanes)
    y += _GAP - (0.18 if shared else 0.04)  # below the numbers of tracks
    _ruler(_axes(figure, y, 0.0001, found), found)
    _cuts(_axes(figure, y, height - _TOP - y + 0.1, found), analysis.cuts)
    _title(figure, analysis, found, height)
    png = io.BytesIO()
    FigureCanvasAgg(figure).print_png(png)
    return png.getvalue()


def _axes(figure: Figure, y: float, height: float, found: Digest) -> Axes:
    """Axes over the whole time, with nothing around them."""
    width, whole = figure.get_size_inches()
    axes = figure.add_axes((_LEFT / width, y / whole, _WIDTH / width, height / whole))
    axes.set_xlim(found.start, found.end)
    axes.set_ylim(0, 1)
    axes.set_axis_off()
    return axes


def _strip(
    axes: Axes, found: Digest, parts: list[TrackDigest], strips: dict[int, dict[int, Image8]]
) -> None:
    width = (found.end - found.start) / CELLS
    for part in parts:
        for cell, face in strips[part.row.track].items():
            left = found.start + cell * width
            axes.imshow(face, extent=(left, left + width, 0, 1), aspect="auto")
    axes.set_xlim(found.start, found.end)
    axes.set_ylim(0, 1)


def _curves(axes: Axes, analysis: Analysis, found: Digest, parts: list[TrackDigest]) -> None:
    """Probabilities one above another, from 0 to 1; gaps are hatched."""
    colours = [look(number).colour for number in range(len(analysis.classes))]
    axes.axhspan(0, 1, color="#F4F4F4", lw=0)
    edges = np.linspace(found.start, found.end, len(found.moments()) + 1)
    for part in parts:
        for first, last in runs(part):
            tops = np.cumsum(np.nan_to_num(part.curve[first:last]), axis=1)
            times = edges[first : last + 1]
            below = np.zeros(last - first)
            for number, colour in enumerate(colours):
                above = tops[:, number]
                axes.fill_between(
                    times, np.append(below, below[-1]), np.append(above, above[-1]),
                    step="post", color=colour, lw=0,
                )  # fmt: skip
                below = above
        for start, end in part.hidden:
            axes.axvspan(start, end, facecolor="white", edgecolor="0.45", hatch="////", lw=0)
    axes.set_xlim(found.start, found.end)
    axes.set_axis_on()
    axes.set_yticks([0, 0.5, 1], ["0", "50 %", "100 %"], fontsize=8)
    axes.set_xticks([])
    axes.tick_params(axis="y", length=2, pad=2)
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def runs(part: TrackDigest) -> Iterator[tuple[int, int]]:
    """First and last (exclusive) of the bins in a row that have probabilities."""
    known = np.concatenate([[False], ~np.isnan(part.curve[:, 0]), [False]])
    changes = np.flatnonzero(known[1:] != known[:-1]).tolist()
    yield from zip(changes[::2], changes[1::2], strict=True)


def _segments(axes: Axes, analysis: Analysis, found: Digest, parts: list[TrackDigest]) -> None:
    """A bar in each prediction's colour, with its name where that fits."""
    inch = (found.end - found.start) / _WIDTH
    for part in parts:
        for segment in part.segments:
            number = analysis.classes.index(segment.prediction)
            colour = look(number).colour
            length = segment.end - segment.start
            axes.barh(0.5, length, left=segment.start, height=0.86, color=colour, lw=0)
            for text in (segment.prediction, segment.prediction[:3]):
                if len(text) * _LETTER * inch < 0.96 * length:
                    axes.text(segment.start + length / 2, 0.47, text, ha="center", va="center",
                              fontsize=9, color=ink(colour))  # fmt: skip
                    break
    if len(parts) > 1:
        _numbers(axes, found, parts)


def _numbers(axes: Axes, found: Digest, parts: list[TrackDigest]) -> None:
    """Which track begins where, below the bars, as far as there is room."""
    told = -float("inf")
    for part in parts:
        start = part.row.start
        if start - told > (found.end - found.start) / 50:
            told = start
            axes.annotate(f"#{part.row.track}", (start, 0), xytext=(1, -1), fontsize=7,
                          textcoords="offset points", va="top", annotation_clip=False)  # fmt: skip


def ink(colour: str) -> str:
    """Black or white, whichever is read better on a colour."""
    shares = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    luminance = float(np.dot(shares, (0.2126, 0.7152, 0.0722)))  # as of WCAG 2
    return "#000000" if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else "#FFFFFF"


def _name(axes: Axes, analysis: Analysis, parts: list[TrackDigest]) -> None:
    """Who it is, at the left."""
    row = parts[0].row
    if len(parts) > 1:
        lines = [f"{len(parts)} tracks", f"{row.track} to {parts[-1].row.track}"]
    else:
        best = top_class(analysis.classes, row.probabilities)
        lines = [f"track {row.track}", f"{clock(row.start)} to {clock(row.end)}"]
        if best is None or row.probabilities is None:
            lines.append("too short")
        else:
            lines.append(f"{shortened(best)} {100 * max(row.probabilities):.0f} %")
    for number, line in enumerate(lines):
        axes.annotate(
            line, (0, 1), xytext=(-_LEFT * 72 + 12, -4 - 15 * number), xycoords="axes fraction",
            textcoords="offset points", va="top", fontsize=9 if number else 11,
            fontweight="normal" if number else "bold", color="0.3" if number else "black",
            annotation_clip=False,
        )  # fmt: skip


def _speech(axes: Axes, spans: tuple[tuple[float, float], ...]) -> None:
    axes.axhspan(0, 1, color="#F4F4F4", lw=0)
    for start, end in spans:
        axes.axvspan(start, end, color="0.25", lw=0)
    axes.annotate("speech", (0, 0.5), xytext=(-_LEFT * 72 + 12, 0), xycoords="axes fraction",
                  textcoords="offset points", va="center", fontsize=11, fontweight="bold",
                  annotation_clip=False)  # fmt: skip


def _empty(axes: Axes) -> None:
    axes.axhspan(0, 1, color="#F4F4F4", lw=0)
    axes.text(0.5, 0.5, "no face was found", transform=axes.transAxes, ha="center", va="center",
              fontsize=14, color="0.35")  # fmt: skip


def _ruler(axes: Axes, found: Digest) -> None:
    axes.set_axis_on()
    axes.set_yticks([])
    axes.spines[["top", "right", "left"]].set_visible(False)
    times = ticks(found.start, found.end)
    axes.set_xticks(times, [clock(time, times) for time in times], fontsize=9)


def ticks(start: float, end: float, most: int = 14) -> list[float]:
    """Round times from start to end, at most so many."""
    step = next((n for n in _NICE if (end - start) / n <= most), (end - start) / most)
    first = int(np.ceil(start / step - 1e-9))
    return [float(n * step) for n in range(first, int(end / step + 1e-9) + 1)]


def clock(time: float, among: list[float] | None = None) -> str:
    """A time as 1:02:03, or 2:03, with tenths unless all of those around it are whole."""
    tenths = round(10 * time)
    whole, tenth = divmod(abs(tenths), 10)
    minutes, seconds = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
    if among is None or any(abs(t - round(t)) > 1e-6 for t in among):
        text += f".{tenth}"
    return f"-{text}" if tenths < 0 else text


def _cuts(axes: Axes, cuts: tuple[float, ...]) -> None:
    """A line through all lanes where a scene begins; many are thin, and not all have the word."""
    axes.set_zorder(5)
    axes.patch.set_alpha(0)
    start, end = axes.get_xlim()
    told = -float("inf")
    for time in cuts:
        axes.axvline(time, color="black", lw=1.1 if len(cuts) < 12 else 0.6, ls=(0, (4, 3)))
        if time - told > (end - start) / 40:
            told = time
            axes.annotate("cut", (time, 1), xycoords=("data", "axes fraction"), xytext=(0, 1),
                          textcoords="offset points", ha="center", va="bottom",
                          fontsize=8)  # fmt: skip
    axes.set_xlim(start, end)


def _title(figure: Figure, analysis: Analysis, found: Digest, height: float) -> None:
    width = figure.get_size_inches()[0]
    figure.text(0.17 / width, 1 - 0.34 / height, shortened(Path(analysis.source).name, 90),
                fontsize=14, fontweight="bold", va="center")  # fmt: skip
    figure.text(0.17 / width, 1 - 0.62 / height, summary(found), fontsize=9.5, color="0.3",
                va="center")  # fmt: skip
    handles = [
        Patch(color=look(number).colour, label=shortened(name))
        for number, name in enumerate(analysis.classes)
    ]
    handles.append(Patch(facecolor="white", edgecolor="0.45", hatch="////", label="hidden"))
    figure.legend(
        handles=handles, loc="upper right", bbox_to_anchor=(1 - 0.2 / width, 1 - 0.06 / height),
        ncols=min(len(handles), 9), frameon=False, fontsize=9, handlelength=1.1,
        columnspacing=1.2, handletextpad=0.45,
    )  # fmt: skip


def summary(found: Digest) -> str:
    """How long the video is and how many people were found in it, in words."""
    count = len(found.tracks)
    people = "no tracks" if not count else "1 track" if count == 1 else f"{count} tracks"
    text = f"{clock(found.start)} to {clock(found.end)}, {found.frames} frames, {people}"
    if found.faceless:
        text += f"; no face in {100 * found.faceless / found.frames:.0f} % of the frames"
    if found.left_out:
        text += f"; {len(found.left_out)} short tracks are not drawn"
    return text


def shortened(name: str, most: int = 18) -> str:
    """A long name with a gap in its middle."""
    return name if len(name) <= most else f"{name[: most // 2]}…{name[1 - most // 2 :]}"
