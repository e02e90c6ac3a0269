"""Who is who: confirmation, hysteresis, crossing, hiding, coming back, cuts."""

from __future__ import annotations

import numpy as np
import pytest

from peclip_fast.faces.appearance import unit
from peclip_fast.faces.finder import SeenFace
from peclip_fast.faces.geometry import Face
from peclip_fast.faces.track import CONFIRMED, HIDDEN, Tracker

RATE = 25
POINTS = np.zeros((468, 2))


def look(who: int) -> np.ndarray:
    """People whose looks have little in common, the same on every call."""
    return unit(np.random.default_rng(who).random(64) ** 6)


def seen(
    x: float, who: int = 1, score: float = 0.9, y: float = 100.0, side: float = 50
) -> SeenFace:
    box = np.array([x, y, side, side])
    eyes = box[:2] + np.array([[-10.0, -5.0], [10.0, -5.0]])
    return SeenFace(Face(box, eyes, score), POINTS, look(who))


def people(
    tracker: Tracker, frames: list[list[SeenFace]], start: int = 0
) -> list[list[int | None]]:
    """The person of each face of each frame."""
    found = []
    for number, faces in enumerate(frames, start):
        tracks = tracker.update(number / RATE, faces)
        found.append([t.person.number if t is not None and t.person else None for t in tracks])
    return found


def test_a_track_is_believed_after_three_detections():
    found = people(Tracker(), [[seen(100)] for _ in range(6)])
    assert found == [[None]] * (CONFIRMED - 1) + [[1]] * (7 - CONFIRMED)


def test_a_sure_face_is_needed_and_less_sure_ones_go_before_and_after():
    tracker = Tracker()
    assert people(tracker, [[seen(100, score=0.6)] for _ in range(90)]) == [[None]] * 90
    assert tracker.tracks[0].began > 90 / RATE - HIDDEN - 0.1  # nobody is doubtful for longer
    first = tracker.tracks[0]
    scores = [0.71, 0.55, 0.52, 0.51, 0.6]
    assert people(tracker, [[seen(100, score=s)] for s in scores], 90)[2:] == [[1]] * 3
    assert tracker.tracks == [first]


def test_flickering_false_faces_are_nobody():
    """Two detections with long breaks, any number of times."""
    frames = [[seen(100)] if number % 20 < 2 else [] for number in range(200)]
    assert {who for found in people(Tracker(), frames) for who in found} == {None}


@pytest.mark.parametrize("speed", [2.0, 6.0, 12.0])
def test_two_who_cross_keep_their_numbers(speed):
    """One is hidden while they cross."""
    frames = []
    for step in np.arange(0, 400, speed):
        left, right = seen(100 + step, 1), seen(500 - step, 2)
        hidden = abs(left.face.box[0] - right.face.box[0]) < 45
        frames.append([left] if hidden else [left, right])
    found = people(Tracker(), frames)
    both = [f for f in found[CONFIRMED:] if len(f) == 2]
    assert len(both) > 10
    assert {tuple(f) for f in both} == {(1, 2)}
    assert {f[0] for f in found[CONFIRMED:]} == {1}


def test_two_in_one_box_are_nobody_at_first_and_each_is_itself_after():
    """As they cross, a detector gives one box between them, which looks like both."""
    frames = []
    for step in range(0, 400, 10):
        left, right = seen(100 + step, 1), seen(500 - step, 2)
        apart = abs(left.face.box[0] - right.face.box[0])
        both = seen(300.0, 1)._replace(look=unit(look(1) + look(2)))
        frames.append([both] if apart < 45 else [left, right])
    tracker = Tracker()
    found = people(tracker, frames)
    crossing = [f[0] for f in found if len(f) == 1]
    assert crossing[0] is None
    assert len(set(crossing)) == 2  # not now the one, now the other
    assert {tuple(f) for f in found[CONFIRMED:] if len(f) == 2} == {(1, 2)}
    assert len(tracker.tracks) == 2


def test_who_is_back_is_known_by_looks_wherever_it_is():
    rng = np.random.default_rng()
    frames = [[seen(100, 1), seen(300, 2)]] * 10 + [[]] * int(2 * HIDDEN * RATE)
    back = [[seen(float(rng.uniform(50, 400)), 2, y=float(rng.uniform(50, 400)))]] * 10
    stranger = [[back[0][0], seen(700, 3)]] * 10
    found = people(Tracker(), [*frames, *back, *stranger])
    assert found[5] == [1, 2]
    assert found[-15] == [2]
    assert found[-1] == [2, 3]


def test_two_who_look_alike_are_not_taken_for_each_other():
    """Who is back is unclear, so it is a new person."""
    frames = [[seen(100, 1), seen(300, 1)]] * 10 + [[]] * int(2 * HIDDEN * RATE)
    found = people(Tracker(), [*frames, *[[seen(200, 1)]] * 10])
    assert found[5] == [1, 2]
    assert found[-1] == [3]


def test_a_cut_ends_all_tracks_and_forgets_everybody():
    tracker = Tracker()
    people(tracker, [[seen(100, 1)]] * 10)
    before = tracker.tracks[:]
    tracker.cut()
    assert all(track.ended for track in before)
    assert people(tracker, [[seen(100, 1)]] * 5, 10)[-1] == [2]


def test_a_short_break_is_one_track_and_a_long_one_is_two():
    for gap, tracks in ((int(HIDDEN * RATE) - 2, 1), (int(HIDDEN * RATE) + 2, 2)):
        tracker = Tracker()
        frames = [[seen(100)]] * 10 + [[]] * gap + [[seen(100)]] * 10
        objects = set()
        for number, faces in enumerate(frames):
            objects.update(tracker.update(number / RATE, faces))
        assert len(objects) == tracks
        assert {track.person.number for track in objects} == {1}


def test_faces_are_assigned_all_at_once():
    """The order in which a frame's faces come means nothing."""
    rng = np.random.default_rng()
    base = [seen(100 + 120 * who, who) for who in range(6)]
    tracker, orders = Tracker(), []
    for number in range(12):
        order = rng.permutation(6)
        tracks = tracker.update(number / RATE, [base[k] for k in order])
        orders.append(
            {int(k): t.person and t.person.number for k, t in zip(order, tracks, strict=True)}
        )
    assert all(found == orders[-1] for found in orders[CONFIRMED:])
    assert sorted(orders[-1].values()) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("rate", [1, 4, 25, 120])
def test_few_frames_a_second_are_followed_too(rate):
    tracker, found = Tracker(), []
    for number in range(12):
        tracks = tracker.update(number / rate, [seen(100 + 2 * number)])
        found += [track.person and track.person.number for track in tracks]
    assert found == [None] * (CONFIRMED - 1) + [1] * (13 - CONFIRMED)
    assert tracker.hidden >= 3 / rate
