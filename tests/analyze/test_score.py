"""The truth itself is a perfect analysis, and each fault costs what it should."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
from helpers.analyses import write_folder

from peclip_fast.analyze.results import FaceRow
from peclip_fast.analyze.score import main, read_truth, score, truth_as_analysis
from peclip_fast.demo.scene_video import PersonTruth, SceneTruth
from peclip_fast.errors import InputError
from peclip_fast.faces.box import Box

CLASSES = ["happiness", "sadness", "neutral"]


@pytest.fixture
def truth() -> SceneTruth:
    """Two people for ten seconds; the second comes after two, and is hidden for a while."""
    first = [[20.0, 20.0, 40.0, 50.0]] * 100
    second = [None if n < 20 or 50 <= n < 55 else [100.0, 20.0, 40.0, 50.0] for n in range(100)]
    return SceneTruth(200, 100, 10, 0.4, CLASSES, [
        PersonTruth(1, [["happiness", 0.0, 5.0], ["neutral", 5.0, 10.0]], first),
        PersonTruth(2, [["sadness", 0.0, 6.0], ["happiness", 6.0, 10.0]], second),
    ])  # fmt: skip


@pytest.fixture
def perfect(truth):
    return truth_as_analysis(truth, "scene.mp4")


def test_the_truth_is_perfect(truth, perfect):
    found = score(perfect, truth, 0.5)
    assert (found.faces, found.faces_found, found.boxes, found.false_boxes) == (175, 175, 175, 0)
    assert (found.switches, found.tracks, found.people) == (0, 2, 2)
    assert (found.windows, found.windows_right) == (4, 4)
    assert (found.changes, found.changes_found) == (2, 2)
    assert found.furthest <= 0.11


def test_its_windows_are_within_one_expression(truth, perfect):
    assert [(w.track, w.start, w.end) for w in perfect.windows] == [
        (1, 0.0, 4.8), (1, 5.2, 9.9), (2, 2.0, 5.8), (2, 6.2, 9.9),
    ]  # fmt: skip


def changed(analysis, change):
    return replace(analysis, frames=[change(row) for row in analysis.frames])


def test_tracks_that_are_exchanged_are_switches(truth, perfect):
    def swap(row: FaceRow) -> FaceRow:
        return replace(row, track=3 - row.track) if row.track and row.frame >= 60 else row

    assert score(changed(perfect, swap), truth, 0.5).switches == 4


def test_while_faces_cover_one_another_a_box_is_of_either(truth, perfect):
    """The frames 60 to 69, in which both people are at one place."""

    def swap(row: FaceRow) -> FaceRow:
        return replace(row, track=3 - row.track) if row.track and 60 <= row.frame < 70 else row

    swapped = changed(perfect, swap)
    assert score(swapped, truth, 0.5).switches == 8
    for number in range(60, 70):
        truth.people[1].boxes[number] = [30.0, 20.0, 40.0, 50.0]
    assert score(swapped, truth, 0.5).switches == 0


def test_a_track_that_begins_anew_is_one_switch(truth, perfect):
    def anew(row: FaceRow) -> FaceRow:
        return replace(row, track=9) if row.track == 2 and row.frame >= 60 else row

    assert score(changed(perfect, anew), truth, 0.5).switches == 1


def test_boxes_beside_a_face_are_false_and_it_is_missed(truth, perfect):
    def aside(row: FaceRow) -> FaceRow:
        moved = row.track == 1 and row.frame < 10
        return replace(row, box=Box(20, 75, 40, 50)) if moved else row

    found = score(changed(perfect, aside), truth, 0.5)
    assert (found.faces_found, found.false_boxes) == (165, 10)


def test_a_half_hidden_face_that_is_found_is_not_false(truth, perfect):
    def seen(row: FaceRow) -> FaceRow:
        hidden = row.track == 2 and row.box is None
        return replace(row, box=Box(105, 20, 40, 50)) if hidden else row

    assert score(changed(perfect, seen), truth, 0.5).false_boxes == 0


def test_wrong_windows_and_late_changes(truth, perfect):
    wrong = [replace(w, probabilities=(0.0, 0.0, 1.0)) for w in perfect.windows]
    late = {row.frame: row for row in perfect.frames if row.track == 1}

    def delayed(row: FaceRow) -> FaceRow:
        earlier = late.get(row.frame - 8)
        moved = row.track == 1 and earlier
        return replace(row, probabilities=earlier.probabilities) if moved else row

    found = score(replace(changed(perfect, delayed), windows=wrong), truth, 0.5)
    assert (found.windows, found.windows_right) == (4, 1)
    assert (found.changes, found.changes_found) == (2, 1)
    assert score(changed(perfect, delayed), truth, 1.0).changes_found == 2


def test_windows_across_a_change_do_not_count(truth, perfect):
    across = [replace(w, start=w.start + 1, end=w.end + 1) for w in perfect.windows[:1]]
    assert score(replace(perfect, windows=across), truth, 0.5).windows == 0


def test_the_command(tmp_path, truth, perfect, capsys):
    (tmp_path / "scene.json").write_text(json.dumps(asdict(truth)))
    assert read_truth(tmp_path / "scene.json") == truth
    about = {"source": "s", "classes": CLASSES, "cuts": [], "speech": None, "stride": 0.5}
    folder = write_folder(tmp_path / "found", replace(perfect, about=about))
    assert main([str(folder), str(tmp_path / "scene.json")]) == 0
    assert json.loads(capsys.readouterr().out)["windows_right"] == 4
    (folder / "run.json").write_text(json.dumps(about | {"stride": None}))
    assert main([str(folder), str(tmp_path / "scene.json")]) == 2
    assert "run.json: stride: expected seconds" in capsys.readouterr().err


def test_no_truth(tmp_path):
    (tmp_path / "scene.json").write_text('{"width": 3}')
    with pytest.raises(InputError, match=r"scene\.json: expected an object with"):
        read_truth(tmp_path / "scene.json")
