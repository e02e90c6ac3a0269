"""Changes are found where they are, whatever the model makes of windows that hold two classes."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from peclip_fast.analyze.analyzer import Analyzer
from peclip_fast.analyze.outputs.digest import segments_of
from peclip_fast.analyze.pipeline.classify import WindowClassifier
from peclip_fast.analyze.pipeline.shown import ShownClasses, certain_after
from peclip_fast.analyze.pipeline.windows import Window, WindowOptions
from peclip_fast.analyze.results import top_class
from peclip_fast.analyze.score import read_truth, score
from peclip_fast.demo.scene import make_scene
from peclip_fast.demo.scene_video import write_scene
from peclip_fast.faces.crop import CropProfile

RATE = 12
CLASSES = 4
# Of four classes the second outshines the others, and a mixture of the first and the third is
# taken for the fourth.
LOGITS = np.array([[8, 0, 0, 5], [0, 20, 0, 0], [0, 0, 8, 5], [0, 0, 0, 8]], float)


def said(logits):
    values = np.exp(logits - logits.max())
    return tuple((values / values.sum()).tolist())


def shown_over(times, classes):
    """For each frame of 20 s what is shown: a class from each time on."""
    frames = np.arange(20 * RATE) / RATE
    return frames, np.array(classes)[np.searchsorted(times, frames, "right")]


def windows_of(frames, shown, options, logits=LOGITS):
    """The windows of a track, with probabilities from the mean of the frames' logits."""
    start = 0.0
    while start + options.seconds <= frames[-1] + 1e-6:
        held = np.flatnonzero((frames >= start - 1e-6) & (frames < start + options.seconds - 1e-6))
        window = Window(None, int(held[0]), int(held[-1]), frames[held[0]], frames[held[-1]], {})
        yield window, said(logits[shown[held]].mean(0))
        start += options.stride


def found(frames, windows, options):
    """The class of each frame, asked as the ledger does: as soon as it is certain."""
    track, waiting, classes = ShownClasses(options), list(windows), []
    for time in frames:
        while waiting and waiting[0][0].start < time + certain_after(options):
            track.add(*waiting.pop(0))
        classes.append(track.at(time))
    return classes


def changes_of(frames, classes):
    return [
        (float(frames[k]), int(classes[k]))
        for k in range(1, len(classes))
        if classes[k] != classes[k - 1]
    ]


@pytest.mark.parametrize("stride", [0.25, 0.5, 1.0, 1.25])
@pytest.mark.parametrize("first", [4.0, 4.6, 5.3, 6.1])
def test_a_class_that_outshines_another_is_timed_as_it_is_shown(stride, first):
    """The windows' own predictions call it too early, and end it too late."""
    options = WindowOptions(2.5, stride)
    frames, shown = shown_over([first, first + 6], [0, 1, 2])
    windows = list(windows_of(frames, shown, options))
    changes = changes_of(frames, found(frames, windows, options))
    assert [after for _, after in changes] == [1, 2]
    assert np.abs(np.array([t for t, _ in changes]) - [first, first + 6]).max() < 0.4
    middles = [(w.start + w.end) / 2 for w, _ in windows]
    called = [int(np.argmax(p)) for _, p in windows]
    early = next(m for m, c in zip(middles, called, strict=True) if c == 1)
    if stride == 0.25:
        assert early < first - 0.2


@pytest.mark.parametrize("change", [8.1, 8.75, 9.3])
def test_a_mixture_of_two_is_no_third_class(change):
    options = WindowOptions(2.5, 1.25)
    frames, shown = shown_over([change], [0, 2])
    windows = list(windows_of(frames, shown, options))
    changes = changes_of(frames, found(frames, windows, options))
    assert [after for _, after in changes] == [2]
    assert abs(changes[0][0] - change) < 0.3
    if change == 8.75:  # the middle of a window
        assert any(int(np.argmax(p)) == 3 for _, p in windows)


@pytest.mark.parametrize(("seconds", "is_shown"), [(0.6, False), (3.0, True)])
def test_what_lasts_as_long_as_a_window_is_shown_and_a_moment_is_not(seconds, is_shown):
    options = WindowOptions(2.5, 1.25)
    frames, shown = shown_over([8.0, 8.0 + seconds], [0, 3, 0])
    classes = found(frames, windows_of(frames, shown, options), options)
    assert (3 in classes) == is_shown
    if is_shown:
        assert abs(classes.count(3) / RATE - seconds) < 0.6


def test_windows_that_come_early_change_nothing():
    """Whether they come one by one, or all before a frame's row is written."""
    options = WindowOptions(2.5, 0.5)
    rng = np.random.default_rng(0)
    frames, shown = shown_over([3, 4.5, 7, 9, 15], [0, 2, 1, 3, 0, 2])
    windows = [
        (window, said(np.log(values) + rng.normal(0, 2, CLASSES)))
        for window, values in windows_of(frames, shown, options)
    ]
    at_once = ShownClasses(options)
    for window in windows:
        at_once.add(*window)
    assert [at_once.at(time) for time in frames] == found(frames, windows, options)


def test_equal_classes_and_certain_zeros_are_no_trouble():
    options = WindowOptions(2.0, 1.0)
    track = ShownClasses(options)
    for k, values in enumerate([(0.5, 0.5), (1.0, 0.0), (0.0, 1.0), (0.0, 1.0), (0.5, 0.5)]):
        track.add(Window(None, 12 * k, 12 * k + 23, float(k), k + 23 / 12, {}), values)
    classes = [track.at(time) for time in np.arange(60) / RATE]
    assert changes_of(np.arange(60) / RATE, classes) == [(pytest.approx(2.5, abs=0.6), 1)]


def test_changes_on_a_drawn_video_are_within_a_stride(trained_run, tmp_path, monkeypatch):
    """A model that is right, but for its salient classes and mixtures, on a face that is drawn."""
    path = tmp_path / "scene.mp4"
    truth = write_scene(path, make_scene(1, 20.0, seed=20))
    (tmp_path / "truth.json").write_text(json.dumps(asdict(truth)))
    analyzer = Analyzer(trained_run, "cpu", crop=CropProfile(1.5, 0, -0.1), window=2.5)
    classes = tuple(truth.classes)
    spans = [(str(name), float(start)) for name, start, _ in truth.people[0].spans]
    salient = 8 + 12.0 * (np.arange(len(classes)) % 2)  # every second class outshines the others

    def classify(self, windows):
        answers = []
        for window in windows:
            times = np.linspace(window.start, window.end, 16)
            logits = np.zeros(len(classes))
            for time in times:
                name = [name for name, start in spans if start <= time][-1]
                logits[classes.index(name)] += salient[classes.index(name)] / len(times)
            answers.append(said(logits))
        return answers

    monkeypatch.setattr(WindowClassifier, "classify", classify)
    monkeypatch.setattr(Analyzer, "classes", classes)
    result = analyzer.analyze(path)
    found = score(result, read_truth(tmp_path / "truth.json"), analyzer.windows.stride)
    assert (found.changes, found.changes_found) == (2, 2)
    assert found.furthest < 0.3
    # A frame's probabilities are still the mean over its windows, whose largest is no prediction.
    rows = [row for row in result.frames if row.probabilities is not None]
    assert any(top_class(classes, row.probabilities) != row.prediction for row in rows)
    assert {s.prediction for s in segments_of(result)} == {name for name, _ in spans}
