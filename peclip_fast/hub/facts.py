"""What a model card says of a run: its configuration, its report and its crop."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peclip_fast.config.run import RunConfig
from peclip_fast.errors import InputError
from peclip_fast.json_files import parse_json, read_json


@dataclass(frozen=True)
class TestResult:
    """Of a run's report.json what a card shows.

    Args:
        classes: names, in the order of rows and columns.
        confusion_matrix: clips with the row's label and the column's prediction.
        protocol: which epoch's weights, in words.
        title: of the dataset.
        training_clips: how many there were; None if nobody knows.
        skipped_training_clips: why those were skipped that couldn't be read.
        skipped_test_clips: likewise.
        parameters: numbers of trained and frozen ones.
        device: where it was tested.
        versions: of the packages there.
    """

    __test__ = False  # no test of pytest's

    classes: list[str]
    confusion_matrix: list[list[int]]
    protocol: str
    title: str = ""
    training_clips: int | None = None
    skipped_training_clips: list[str] = field(default_factory=list)
    skipped_test_clips: list[str] = field(default_factory=list)
    parameters: dict[str, int] = field(default_factory=dict)
    device: str = ""
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def clips(self) -> list[int]:
        """Test clips of each class."""
        return [sum(row) for row in self.confusion_matrix]

    @property
    def found(self) -> list[int]:
        """Of those how many were recognised."""
        return [row[k] for k, row in enumerate(self.confusion_matrix)]

    @property
    def war(self) -> float:
        """Accuracy over all clips."""
        return sum(self.found) / sum(self.clips)

    @property
    def uar(self) -> float:
        """Mean recall of the classes with clips."""
        pairs = zip(self.found, self.clips, strict=True)
        recalls = [right / number for right, number in pairs if number]
        return sum(recalls) / len(recalls)


@dataclass(frozen=True)
class CropOfClips:
    """How the training clips show a face, as crop.json has it (faces.crop.CropProfile)."""

    scale: float
    x: float
    y: float
    aligned: bool = False
    seconds: float | None = None
    faces: float = 1.0
    origin: str = "given"

    @property
    def of_faces(self) -> bool:
        """Whether the clips show faces at all."""
        return self.faces >= 0.5


@dataclass(frozen=True)
class RunFacts:
    """All that a card says of a run.

    Args:
        config: of the run.
        result: of its test; None if there is none.
        crop: how its training clips show a face; None if nobody knows.
    """

    config: RunConfig
    result: TestResult | None = None
    crop: CropOfClips | None = None

    @property
    def published_clips(self) -> bool:
        """Whether its clips are those of a published dataset."""
        dataset = self.config.dataset
        return bool(dataset.licence) and not dataset.drawn


def run_facts(config: RunConfig, report: Path | Mapping[str, Any], crop: Path) -> RunFacts:
    """The facts of a run.

    Args:
        config: of the run.
        report: its report.json, which may be missing, or the content of the one to be written.
        crop: its crop.json, which may be missing.

    Raises:
        InputError: a file is damaged; names it.
    """
    result = None
    if isinstance(report, Mapping):
        result = parse_json(json.dumps(report), "the run's report", TestResult)
    elif report.is_file():
        result = read_json(report, TestResult)
    if result is not None:
        _check(result, str(report) if isinstance(report, Path) else "the run's report")
    found = read_json(crop, CropOfClips) if crop.is_file() else None
    return RunFacts(config, result, found)


def _check(result: TestResult, source: str) -> None:
    """InputError unless the matrix is one of these classes, with some clips."""
    number, rows = len(result.classes), result.confusion_matrix
    square = len(rows) == number and all(len(row) == number for row in rows)
    if not square or min(map(min, rows), default=-1) < 0 or not sum(map(sum, rows)):
        raise InputError(
            f"{source}: confusion_matrix: expected {number} rows of {number} numbers of clips"
        )
