"""``python -m peclip_fast.analyze.score FOLDER scene.json``: an analysis against the truth.

The truth is that of a video drawn by ``python -m peclip_fast.demo.scene_video``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from peclip_fast.analyze.outputs.digest import Segment, segments_of
from peclip_fast.analyze.reading import read_results
from peclip_fast.analyze.results import Analysis, FaceRow, TrackRow, WindowRow, top_class
from peclip_fast.demo.scene_video import PersonTruth, SceneTruth
from peclip_fast.errors import InputError
from peclip_fast.faces.box import Box
from peclip_fast.json_files import read_json

OVERLAP = 0.3  # intersection over union from which a box is a person's


@dataclass(frozen=True)
class SceneScore:
    """How an analysis meets the truth.

    Args:
        faces: boxes in the truth.
        faces_found: of them those that a box of the analysis meets.
        boxes: of the analysis.
        false_boxes: of them those on nobody.
        switches: how many times a person's track becomes another one, or a track another person's;
            frames in which faces cover one another don't count.
        tracks: how many tracks there are.
        people: how many people there are.
        windows: those in which a person shows one expression from the first frame to the last.
        windows_right: of them those whose prediction it is.
        changes: times at which a person's expression becomes another one, seen with windows before
            and after.
        changes_found: of them those that a change from the one prediction to the other meets within
            ``within`` seconds.
        within: seconds, one stride of the windows.
        furthest: seconds between a change and the prediction's, of those found; the largest.
    """

    faces: int
    faces_found: int
    boxes: int
    false_boxes: int
    switches: int
    tracks: int
    people: int
    windows: int
    windows_right: int
    changes: int
    changes_found: int
    within: float
    furthest: float


def score(analysis: Analysis, truth: SceneTruth, stride: float) -> SceneScore:
    """Measure an analysis of a drawn video.

    Args:
        analysis: of the video that has that truth.
        truth: of the video.
        stride: seconds from one window to the next.
    """
    owner, counts, switches = _people_of_tracks(analysis, truth)
    right = windows = 0
    for window in analysis.windows:
        person = owner.get(window.track)
        expression = person is not None and _one_expression(truth, truth.people[person], window)
        if expression:
            windows += 1
            right += top_class(analysis.classes, window.probabilities) == expression
    distances = _changes(analysis, truth, owner)
    met = [distance for distance in distances if distance <= stride + 1e-6]
    return SceneScore(
        **counts, switches=switches, tracks=len(analysis.tracks), people=len(truth.people),
        windows=windows, windows_right=right, changes=len(distances), changes_found=len(met),
        within=stride, furthest=max(met, default=0.0),
    )  # fmt: skip


def truth_as_analysis(truth: SceneTruth, source: str) -> Analysis:
    """What a perfect analysis of a drawn video would find: a track a person, numbered from 1.

    A frame's probabilities are the shares of its expressions, and there is a window for each time
    that a person shows one expression and nothing else.
    """
    classes = tuple(truth.classes)
    frames, windows, tracks = [], [], []
    for number in range(max(len(person.boxes) for person in truth.people)):
        time, rows = number / truth.rate, []
        for track, person in enumerate(truth.people, 1):
            shown = [n for n, box in enumerate(person.boxes) if box]
            if shown and shown[0] <= number <= shown[-1]:
                box = person.boxes[number]
                shares = _shares(truth, person, time)
                rows.append(FaceRow(number, time, track, Box(*box) if box else None,
                                    1.0 if box else None, shares))  # fmt: skip
        frames += rows or [FaceRow(number, time)]
    for track, person in enumerate(truth.people, 1):
        shown = [n for n, box in enumerate(person.boxes) if box]
        if not shown:
            continue
        mine = []
        for expression, start, end in _pure(truth, person):
            first = max(shown[0], int(np.ceil(start * truth.rate - 1e-6)))
            last = min(shown[-1], int(end * truth.rate + 1e-6))
            if first < last:
                values = tuple(float(name == expression) for name in classes)
                times = first / truth.rate, last / truth.rate
                mine.append(WindowRow(track, *times, first, last, values))
        windows += mine
        mean = tuple(np.mean([w.probabilities for w in mine], 0).tolist()) if mine else None
        times = shown[0] / truth.rate, shown[-1] / truth.rate
        tracks.append(TrackRow(track, *times, shown[0], shown[-1], len(shown), len(mine), mean))
    size = {"width": truth.width, "height": truth.height}
    return Analysis(source, classes, frames, windows, tracks, (), None,
                    {"source": source, "video": size})  # fmt: skip


def read_truth(path: Path) -> SceneTruth:
    """scene.json.

    Raises:
        InputError: it is no such file.
    """
    return read_json(path, SceneTruth)


def _spans(person: PersonTruth) -> list[tuple[str, float, float]]:
    return [(str(name), float(start), float(end)) for name, start, end in person.spans]


def _pure(truth: SceneTruth, person: PersonTruth) -> Iterator[tuple[str, float, float]]:
    """Each expression with the time in which there is nothing of its neighbours."""
    spans, half = _spans(person), truth.change / 2
    for number, (name, start, end) in enumerate(spans):
        last = number + 1 == len(spans)
        yield name, start + half * (number > 0), end - half * (not last)


def _shares(truth: SceneTruth, person: PersonTruth, time: float) -> tuple[float, ...]:
    """How much of each expression a person shows."""
    shares = dict.fromkeys(truth.classes, 0.0)
    spans = _spans(person)
    for number, (name, start, end) in enumerate(spans):
        level = 1.0
        for edge, sign, free in ((start, 1, number == 0), (end, -1, number + 1 == len(spans))):
            if not free:
                ramp = min(1.0, max(0.0, sign * (time - edge) / truth.change + 0.5))
                level = min(level, ramp * ramp * (3 - 2 * ramp))
        shares[name] += level
    return tuple(shares[name] for name in truth.classes)


def _people_of_tracks(
    analysis: Analysis, truth: SceneTruth
) -> tuple[dict[int, int], dict[str, int], int]:
    """Whose each track is for the most part, the counts of boxes, and the switches."""
    whose: dict[int, Counter[int]] = defaultdict(Counter)
    sequences: dict[int, list[int]] = defaultdict(list)  # of a person: tracks, one after another
    owners: dict[int, list[int]] = defaultdict(list)  # of a track: people
    boxes = false = found = 0
    seen = set[tuple[int, int]]()
    for row in analysis.frames:
        if row.box is None or row.track is None:
            continue
        boxes += 1
        person = _person_at(truth, row.frame, row.box)
        if person is None:
            false += not _hidden_person_at(truth, row)
            continue
        if (row.frame, person) not in seen:
            seen.add((row.frame, person))
            found += 1
        whose[row.track][person] += 1
        if _covered(truth, row.frame, person):
            continue
        for run, one in ((sequences[person], row.track), (owners[row.track], person)):
            if run[-1:] != [one]:
                run.append(one)
    switches = sum(len(run) - 1 for run in (*sequences.values(), *owners.values()))
    faces = sum(box is not None for person in truth.people for box in person.boxes)
    counts = {"faces": faces, "faces_found": found, "boxes": boxes, "false_boxes": false}
    return {track: c.most_common(1)[0][0] for track, c in whose.items()}, counts, switches


def _person_at(truth: SceneTruth, frame: int, box: Box) -> int | None:
    shares = [
        (overlap(box, Box(*there)), number)
        for number, person in enumerate(truth.people)
        if frame < len(person.boxes) and (there := person.boxes[frame])
    ]
    best = max(shares, default=(0.0, 0))
    return best[1] if best[0] >= OVERLAP else None


def _covered(truth: SceneTruth, frame: int, person: int) -> bool:
    """Whether another face is before or behind a person's."""
    boxes = [one.boxes[frame] for one in truth.people if frame < len(one.boxes)]
    mine = boxes[person]
    return (
        mine is not None
        and sum(overlap(Box(*mine), Box(*box)) > 0 for box in boxes if box is not None) > 1
    )


def _hidden_person_at(truth: SceneTruth, row: FaceRow) -> bool:
    """Whether someone is near who is half hidden, and has no box for that."""
    assert row.box is not None
    for person in truth.people:
        near = range(max(0, row.frame - truth.rate), min(len(person.boxes), row.frame + truth.rate))
        if row.frame < len(person.boxes) and person.boxes[row.frame] is None:
            boxes = [Box(*there) for n in near if (there := person.boxes[n])]
            if any(overlap(row.box, box) >= OVERLAP / 3 for box in boxes):
                return True
    return False


def overlap(one: Box, other: Box) -> float:
    """Intersection over union."""
    width = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    height = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    common = max(0.0, width) * max(0.0, height)
    union = one.width * one.height + other.width * other.height - common
    return common / union if union > 0 else 0.0


def _one_expression(truth: SceneTruth, person: PersonTruth, window: WindowRow) -> str | None:
    """The expression that fills a window, with the changes around it outside."""
    for name, start, end in _pure(truth, person):
        if start <= window.start + 1e-6 and window.end <= end + 1e-6:
            return name
    return None


def _changes(analysis: Analysis, truth: SceneTruth, owner: dict[int, int]) -> list[float]:
    """For each change that can be seen, how far the nearest one like it is in the analysis."""
    mine: dict[int, list[Segment]] = defaultdict(list)
    for segment in segments_of(analysis):
        if segment.track in owner:
            mine[owner[segment.track]].append(segment)
    found = []
    for number, person in enumerate(truth.people):
        spans = _spans(person)
        for (before, _, _), (after, time, _) in pairwise(spans):
            near = [s for s in mine[number] if s.start - truth.change <= time <= s.end]
            if not near:
                continue  # nobody was there, or too short for a window
            ends = [
                abs(two.start - time)
                for one, two in pairwise(mine[number])
                if (one.prediction, two.prediction) == (before, after)
            ]
            found.append(min(ends, default=float("inf")))
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Print the score as JSON; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m peclip_fast.analyze.score",
                                     description=(__doc__ or "").split("\n\n")[0])  # fmt: skip
    parser.add_argument("folder", type=Path, help="that analyze has written for the video")
    parser.add_argument("truth", type=Path, help="scene.json")
    options = parser.parse_args(argv)
    try:
        analysis = read_results(options.folder)
        stride = analysis.about.get("stride")
        if not isinstance(stride, (int, float)):
            raise InputError(f"{options.folder / 'run.json'}: stride: expected seconds")
        print(json.dumps(asdict(score(analysis, read_truth(options.truth), stride)), indent=1))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
