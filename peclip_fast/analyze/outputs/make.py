"""What is made of a source's tables: pictures, the page, other programs' files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from peclip_fast.analyze.outputs import formats, report, timeline, video
from peclip_fast.analyze.outputs.pictures import frames_of_file
from peclip_fast.analyze.reading import read_results
from peclip_fast.errors import InputError
from peclip_fast.files import clear_partial

TIMELINE, REPORT, VIDEO = "timeline.png", "report.html", "annotated"


@dataclass(frozen=True)
class Wanted:
    """What to make besides the timeline and the page.

    Args:
        formats: names of formats.FORMATS.
        video: the annotated video.
    """

    formats: tuple[str, ...] = ()
    video: bool = False

    def __post_init__(self) -> None:
        for name in self.formats:
            if name not in formats.FORMATS:
                raise InputError(f"--formats {name}: expected some of {', '.join(formats.FORMATS)}")


def make_outputs(
    folder: Path, wanted: Wanted, tick: Callable[[int], object] | None = None
) -> list[Path]:
    """Make what isn't there yet of a folder with whole tables; returns what was made.

    Args:
        folder: of the source.
        wanted: what to make.
        tick: called with the number of each frame of the annotated video.

    Raises:
        InputError: the tables or the source can't be read; names the file.
    """
    analysis = read_results(folder, lazily=True)
    source = Path(analysis.source)
    frames = frames_of_file(source) if source.is_file() else None
    files = _files(folder)
    clear_partial([*files, folder / VIDEO])  # of a process that was killed
    made: list[Path] = []
    if not (folder / TIMELINE).exists():
        timeline.draw(analysis, folder / TIMELINE, frames)
        made.append(folder / TIMELINE)
    annotated = next((path for path in files if path.stem == VIDEO and path.exists()), None)
    if wanted.video and annotated is None:
        if frames is None:
            raise InputError(f"--video: {source} is no file that can be read again")
        (folder / REPORT).unlink(missing_ok=True)  # the new one shows that video
        annotated = video.annotate(analysis, source, folder / VIDEO, tick)
        made.append(annotated)
    if not (folder / REPORT).exists():
        report.write_report(analysis, folder / REPORT, frames, annotated or source)
        made.append(folder / REPORT)
    missing = [name for name in wanted.formats if not (folder / formats.FORMATS[name][0]).exists()]
    return [*made, *formats.write_formats(analysis, folder, missing)]


def clear_outputs(folder: Path) -> None:
    """Remove what was made of tables that are about to be written anew."""
    for path in _files(folder):
        path.unlink(missing_ok=True)


def _files(folder: Path) -> list[Path]:
    """All that may have been made."""
    names = [TIMELINE, REPORT, *(f"{VIDEO}{suffix}" for suffix in video.KINDS)]
    return [folder / name for name in (*names, *(file for file, _ in formats.FORMATS.values()))]
