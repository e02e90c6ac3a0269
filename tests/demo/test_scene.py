"""What the people of a drawn scene do, and that its truth is what is drawn."""

from __future__ import annotations

import json
from itertools import pairwise

import av
import numpy as np
import pytest

from peclip_fast.analyze.score import read_truth, score, truth_as_analysis
from peclip_fast.demo.scene import CHANGE, HEIGHT, VISIBLE, WIDTH, make_scene, visible
from peclip_fast.demo.scene_video import frames_of, main, write_scene
from peclip_fast.errors import InputError
from peclip_fast.faces.box import Box


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("scene") / "scene.mp4"
    assert main([str(path), "--people", "3", "--seconds", "10", "--seed", "2"]) == 0
    return path


def test_the_video_and_its_truth(made):
    truth = read_truth(made.with_suffix(".json"))
    with av.open(str(made)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 10 * truth.rate == len(truth.people[0].boxes)
    assert frames[0].shape == (truth.height, truth.width, 3)
    assert len(truth.people) == 3
    assert {path.name for path in made.parent.iterdir()} == {"scene.mp4", "scene.json"}


def test_who_enters_leaves_and_is_hidden(made):
    people = read_truth(made.with_suffix(".json")).people
    there = [[box is not None for box in person.boxes] for person in people]
    assert not there[0][0]  # the first one comes
    assert there[0][-1]
    assert there[1][0]
    assert there[1][-1]
    assert there[2][0]
    assert not there[2][-1]  # the last one goes
    middle = there[0][45:75]  # the second one passes in front of the first
    assert not all(middle)
    assert middle[0]
    assert middle[-1]
    places = [[person.boxes[n][0] for person in people[:2]] for n in (45, 80)]
    assert places[0][0] < places[0][1]
    assert places[1][0] > places[1][1]


def test_a_box_is_around_the_face_that_is_drawn():
    """Where it goes, the picture changes; the face's own colours are inside."""
    scene = make_scene(1, 8.0, seed=1)
    drawn = frames_of(scene)
    empty, nobody = next(drawn)
    assert nobody == [None]
    for _ in range(60):
        picture, (box,) = next(drawn)
    assert box is not None
    changed = (abs(picture.astype(int) - empty) > 40).any(-1)
    x, y, width, height = (round(value) for value in box)
    assert changed[y : y + height, x : x + width].mean() > 0.75
    assert changed[:, : x - 60].mean() < 0.01


def test_half_a_face_is_no_box():
    covered = [np.zeros((HEIGHT, WIDTH), bool) for _ in range(2)]
    box = Box(100, 100, 40, 40)
    assert visible([box, box], 0, covered) == 1
    covered[1][:, :130] = True
    assert visible([box, box], 0, covered) == 0.25 < VISIBLE
    assert visible([box, box], 1, covered) == 1  # what is behind hides nothing
    assert visible([Box(-20, 100, 40, 40)], 0, covered[:1]) == 0.5
    assert visible([Box(700, 100, 40, 40)], 0, covered[:1]) == 0


def test_expressions_follow_each_other():
    for person in make_scene(6, 30.0, seed=4).people:
        names = [span.expression for span in person.spans]
        assert all(a != b for a, b in pairwise(names))
        assert person.spans[0].start == 0
        assert person.spans[-1].end == 30
        assert min(span.end - span.start for span in person.spans) > 3
        for time in np.linspace(0, 30, 61):
            assert abs(sum(person.shares(time).values()) - 1) < 1e-9
        for span in person.spans[1:]:
            assert len(person.shares(span.start)) == 2
            assert person.shares(span.start + CHANGE) == {span.expression: 1.0}


def test_the_same_on_every_machine():
    for one, other in zip(make_scene(4, 9.0).people, make_scene(4, 9.0).people, strict=True):
        assert one.spans == other.spans
        assert (one.path == other.path).all()
    assert len({person.identity for person in make_scene(8, 9.0).people}) == 8


def test_the_truth_scores_itself(made):
    truth = read_truth(made.with_suffix(".json"))
    found = score(truth_as_analysis(truth, str(made)), truth, 0.5)
    assert found.faces == found.faces_found == found.boxes > 200
    assert (found.switches, found.false_boxes) == (0, 0)
    assert found.windows == found.windows_right == 6
    assert found.changes == found.changes_found == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--people", "9"], "9 people"), (["--people", "0"], "0 people"),
     (["--seconds", "2"], "2 s: expected 8 s"), (["--seconds", "nan"], "nan s")],
)  # fmt: skip
def test_what_cannot_be_drawn(tmp_path, capsys, options, message):
    assert main([str(tmp_path / "s.mp4"), *options]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_where_it_cannot_be_written(tmp_path):
    for path in (tmp_path / "s.avi", tmp_path / "none" / "s.mp4"):
        with pytest.raises(InputError, match=str(path)):
            write_scene(path, make_scene(1, 8.0))


def test_the_truth_is_plain_json(made):
    text = made.with_suffix(".json").read_text()
    assert json.loads(text)["people"][0]["spans"][0][1:] == [0.0, pytest.approx(5, abs=1)]
