"""The demo's clips: the same everywhere, whole or not there, with faces of their own per split."""

from __future__ import annotations

import json

import numpy as np
import pytest

from peclip_fast import InputError
from peclip_fast.data import DataConfig, open_clip_source, open_splits, sample_indices
from peclip_fast.demo import ORDER_TEXTS, prepare_demo, render
from peclip_fast.demo.train_backbone import FIRST_IDENTITY
from peclip_fast.demo.units import EXPRESSIONS


@pytest.fixture
def few(monkeypatch):
    """Only two faces per split."""
    monkeypatch.setattr(render, "IDENTITIES", {"train": range(2), "test": range(1000, 1002)})


@pytest.mark.parametrize("variant", ["expressions", "order"])
def test_the_reader_finds_what_was_drawn(few, tmp_path, variant):
    prepare_demo(tmp_path / "demo", variant)
    name = "demo" if variant == "expressions" else "demo-order"
    splits = open_splits(DataConfig(dataset=name, root=tmp_path / "demo"))
    names = EXPRESSIONS if variant == "expressions" else ORDER_TEXTS
    assert set(splits.classes) == set(names)
    if variant == "expressions":
        assert splits.classes == tuple(EXPRESSIONS)
    for records in (splits.train, splits.test):
        assert len(records) == 2 * len(names)
        assert {record.path.suffix for record in records} == {".mp4", ".webm", ".avi"}
        for record in records:
            source = open_clip_source(record.path)
            frames = source.read(sample_indices(source.num_frames))
            assert frames.shape == (16, render.SIZE, render.SIZE, 3)
            assert frames.std() > 20
            source.close()


def test_clips_are_the_same_each_time_and_differ_from_each_other():
    first, second = render.plan("expressions")[:2]
    assert np.array_equal(render.frames_of(first), render.frames_of(first))
    assert first != second
    assert render.frames_of(first).shape != render.frames_of(second).shape or not np.array_equal(
        render.frames_of(first), render.frames_of(second)
    )


def test_faces_are_in_one_split_only():
    for variant in ("expressions", "order"):
        faces = {"train": set(), "test": set()}
        for clip in render.plan(variant):
            faces[clip.paths[0].split("/")[0]].add(clip.identity)
        assert not faces["train"] & faces["test"]
        assert max(faces["train"] | faces["test"]) < FIRST_IDENTITY
        assert len(faces["test"]) * len(EXPRESSIONS) >= 105


def test_pairs_show_the_same_frames_in_another_order(tmp_path):
    """In what the published test sampling takes, as drawn and after encoding."""
    for clip in render.plan("order")[:3]:
        frames = render.frames_of(clip)
        for segments in (8, 16):
            indices = sample_indices(len(frames), segments)
            assert indices == [len(frames) - 1 - index for index in reversed(indices)]
        taken, mirrored = frames[indices], frames[::-1][indices]
        assert np.array_equal(taken, mirrored[::-1])
        assert not np.array_equal(taken, mirrored)
        for path, pictures in zip(clip.paths, (frames, frames[::-1]), strict=True):
            file = tmp_path / path.replace("/", "-")
            render.write_video(file, pictures)
            source = open_clip_source(file)
            error = np.abs(source.read(indices).astype(int) - pictures[indices]).mean()
            assert error < 6
            source.close()


def test_a_finished_folder_is_used_again_and_a_half_one_is_not(few, tmp_path, monkeypatch):
    root = tmp_path / "demo"
    draw, drawn = render._draw, []

    def killed(side, clip):
        raise KeyboardInterrupt

    monkeypatch.setattr(render, "_draw", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare_demo(root, "order")
    assert not root.exists()
    assert list(tmp_path.iterdir()) == []

    abandoned = tmp_path / ".demo.drawing-999999999"  # of a process that is gone
    (abandoned / "train").mkdir(parents=True)
    monkeypatch.setattr(render, "_draw", draw)
    prepare_demo(root, "order")
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]

    monkeypatch.setattr(render, "_draw", lambda *clip: drawn.append(clip))
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    prepare_demo(root, "order")
    assert before == {path: path.stat().st_mtime_ns for path in root.rglob("*")}


def test_another_version_is_drawn_anew(few, tmp_path):
    root = tmp_path / "demo"
    prepare_demo(root, "order")
    (root / render.MARKER).write_text(json.dumps({"demo": "order", "version": 0}))
    (root / "old").touch()
    prepare_demo(root, "order")
    assert not (root / "old").exists()
    assert json.loads((root / render.MARKER).read_text())["version"] == render.VERSION


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="holds other files"):
        prepare_demo(tmp_path, "expressions")
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
