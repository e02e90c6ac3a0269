"""The pictures in docs/plots: which there are, and which results each says it was drawn from.

A file's metadata hold a digest of its results, so whether it is stale is seen without drawing it
again, which gives other bytes with another matplotlib.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib.style
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.report import drawings
from benchmarks.report.results_files import Results

FOLDER = Path("docs") / "plots"
DEVICES = ("cpu", "cuda")


class Drawing(NamedTuple):
    benchmarks: tuple[str, ...]
    """Whose results it is drawn from, of all that there are."""
    draw: Callable[[Sequence[Results]], Figure]
    shows: str
    """Instead of the picture, for who can't see it."""
    needs: str = "rows"
    """A key of the results without which there is nothing to draw."""


DRAWINGS = {
    "pe_clip": Drawing(
        ("pe_clip",), drawings.speeds, "Clips a second of each program, at inference and training"
    ),
    "scaling": Drawing(
        ("scaling",), drawings.scaling, "Time over the number of frames and of clips"
    ),
    "loss_curves": Drawing(("loss_curves",), drawings.loss_curves, "Loss over training steps"),
    "roofline": Drawing(
        ("temporal_adapter", "bottleneck_adapter"),
        drawings.roofline,
        "FLOP/s of each operator over its FLOP a byte, below what the device reaches",
        needs="matrix_flops_per_s",
    ),
}


class Picture(NamedTuple):
    name: str
    drawing: Drawing
    sources: list[Results]

    def description(self) -> str:
        """What its files say of themselves."""
        return "Drawn from " + ", ".join(f"{s.name} sha256:{s.digest()}" for s in self.sources)


def pictures(results: dict[str, Results]) -> dict[str, Picture]:
    """Those that there is something to draw of, by name."""
    found = {}
    for base, drawing in DRAWINGS.items():
        for device in DEVICES:
            all_sources = [results.get(f"{name}-{device}") for name in drawing.benchmarks]
            sources = [one for one in all_sources if one and drawing.needs in one.content]
            if sources:
                found[f"{base}-{device}"] = Picture(f"{base}-{device}", drawing, sources)
    return found


def embedded(name: str, results: dict[str, Results], folder: Path) -> list[str]:
    """A picture as Markdown, in a document of that folder."""
    base, _, device = name.rpartition("-")
    if base not in DRAWINGS or device not in DEVICES:
        raise ValueError(f"expected the name of a plot, not {name!r}")
    if name not in pictures(results):
        return [f"The plot `{name}` is not drawn yet: what it shows has not been measured."]
    link = Path(os.path.relpath(FOLDER / f"{name}.png", folder)).as_posix()
    return [f"![{DRAWINGS[base].shows}]({link})"]


def write(root: Path, results: dict[str, Results]) -> None:
    """All pictures; those that nothing is left to draw of go."""
    wanted = pictures(results)
    for name in _vanished(root, wanted):
        os.remove(root / FOLDER / name)
    for name, picture in wanted.items():
        (root / FOLDER).mkdir(parents=True, exist_ok=True)
        with matplotlib.style.context(["default", drawings.STYLE]):
            figure = picture.drawing.draw(picture.sources)
            # Without matplotlib's version, so that the same results give the same file.
            metadata = {"Description": picture.description(), "Software": None}
            figure.savefig(root / FOLDER / f"{name}.png", metadata=metadata)


def stale(root: Path, results: dict[str, Results]) -> Iterator[tuple[str, str]]:
    """The path and what was expected, for each file that isn't drawn from the results."""
    wanted = pictures(results)
    for name, picture in wanted.items():
        path = FOLDER / f"{name}.png"
        if not (root / path).is_file():
            yield path.as_posix(), "expected this plot, and it is missing"
        elif _description(root / path) != picture.description():
            sources = ", ".join(source.name for source in picture.sources)
            yield path.as_posix(), f"expected a plot of the present results of {sources}"
    for file in _vanished(root, wanted):
        yield (FOLDER / file).as_posix(), "expected no such plot, as its results are not there"


def _vanished(root: Path, wanted: dict[str, Picture]) -> list[str]:
    """Names of the files whose results are gone."""
    names = [f"{base}-{device}" for base in DRAWINGS for device in DEVICES]
    files = [f"{name}.png" for name in names if name not in wanted]
    return [file for file in files if (root / FOLDER / file).is_file()]


def _description(path: Path) -> str | None:
    """That was written with the picture, if it can still be read."""
    if path.suffix == ".svg":
        found = re.search(r"<dc:description>(.*?)</dc:description>", path.read_text(), re.DOTALL)
        return found[1] if found else None
    try:
        with Image.open(path) as image:
            return image.info.get("Description")
    except OSError:
        return None
