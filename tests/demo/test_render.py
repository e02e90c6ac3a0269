"""The demo's clips: the same everywhere, whole or not there, with faces of their own per split."""

from __future__ import annotations

import io
import json
import multiprocessing
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import yaml

from peclip_fast import InputError
from peclip_fast.config.data import DataConfig
from peclip_fast.config.layers import config_path
from peclip_fast.data.cues.regions import REGIONS
from peclip_fast.data.cues.store import read_cues
from peclip_fast.data.decoding.clip_source import open_clip_source
from peclip_fast.data.splits import open_splits
from peclip_fast.data.transforms.sampling import sample_indices
from peclip_fast.demo import render
from peclip_fast.demo.render import CUES, DESCRIPTIONS, prepare_demo
from peclip_fast.demo.train_backbone import FIRST_IDENTITY
from peclip_fast.demo.units import ACTION_UNITS, EXPRESSIONS, NEUTRAL_WORDS, ORDER_TEXTS

FEW = {"train": range(2), "test": range(1000, 1002)}
ONE = {"train": range(1), "test": range(1000, 1001)}


@pytest.fixture
def few(monkeypatch):
    """Only two faces per split."""
    monkeypatch.setattr(render, "IDENTITIES", FEW)


@pytest.fixture
def one(monkeypatch):
    """Only one face per split."""
    monkeypatch.setattr(render, "IDENTITIES", ONE)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The folder of each variant with two faces per split, and what was printed."""
    folders = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(render, "IDENTITIES", FEW)
        for variant in ("expressions", "order"):
            root = tmp_path_factory.mktemp(variant) / "demo"
            out, err = io.StringIO(), io.StringIO()
            with redirect_stdout(out), redirect_stderr(err):
                prepare_demo(root, variant)
            folders[variant] = root, out.getvalue(), err.getvalue()
    return folders


@pytest.mark.parametrize("variant", ["expressions", "order"])
def test_the_reader_finds_what_was_drawn(drawn, variant):
    root, out, err = drawn[variant]
    assert out == ""  # stdout is for what a command was asked for, such as JSON
    assert "drawing the demo's" in err
    name = "demo" if variant == "expressions" else "demo-order"
    splits = open_splits(DataConfig(dataset=name, root=root))
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


@pytest.mark.parametrize("variant", ["expressions", "order"])
def test_every_clip_comes_with_its_true_cues_and_a_description(drawn, variant):
    root = drawn[variant][0]
    name = "demo" if variant == "expressions" else "demo-order"
    config = DataConfig(name, root, cues=root / CUES, descriptions=root / DESCRIPTIONS)
    splits = open_splits(config)
    moved = 0
    for record in (*splits.train, *splits.test):
        source = open_clip_source(record.path)
        frames = source.read(range(source.num_frames))
        cues = read_cues(record.cues, range(source.num_frames))
        assert cues.points.shape == (len(frames), 68, 2)
        # The whites of the eyes and the iris are not of the skin's colour around them.
        eyes, face = (cues.regions == REGIONS.index(part) for part in ("eyes", "face"))
        differ = [
            np.abs(picture[eye].mean(0) - picture[skin].mean(0)).max() > 8
            for picture, eye, skin in zip(frames, eyes, face, strict=True)
            if eye.sum() > 20
        ]
        assert not differ or np.mean(differ) > 0.8
        moved += np.ptp(cues.points[:, 48:60, 1], axis=0).max() > 1
        shown = splits.classes[record.label].split("_then_")
        words = {ACTION_UNITS[u] for e in shown for u in EXPRESSIONS[e]} | set(NEUTRAL_WORDS)
        said = record.description.removesuffix(".").replace(", then", ",").split(", ")
        assert set(said) <= words
        assert (", then" in record.description) == (variant == "order")
    assert moved > len(splits.train) / 2


def test_clips_are_the_same_each_time_and_differ_from_each_other():
    first, second = render.plan("expressions")[:2]
    (_, once), (_, again), (_, other) = map(render.film_of, (first, first, second))
    assert np.array_equal(once, again)
    assert first != second
    assert once.shape != other.shape or not np.array_equal(once, other)


def test_faces_are_in_one_split_only():
    for variant in ("expressions", "order"):
        faces = {"train": set(), "test": set()}
        for clip in render.plan(variant):
            faces[clip.paths[0].split("/")[0]].add(clip.identity)
        assert not faces["train"] & faces["test"]
        assert max(faces["train"] | faces["test"]) < FIRST_IDENTITY
        assert len(faces["test"]) * len(EXPRESSIONS) >= 105


@pytest.mark.parametrize("suffix", render.CODECS)
def test_pairs_show_the_same_frames_in_another_order(tmp_path, suffix):
    """In what the published test sampling takes, as drawn and, bit for bit, after encoding."""
    _, frames = render.film_of(render.plan("order")[0])
    for segments in (8, 16):
        indices = sample_indices(len(frames), segments)
        assert indices == [len(frames) - 1 - index for index in reversed(indices)]
    decoded = []
    for name, pictures in (("one", frames), ("other", frames[::-1])):
        path = tmp_path / (name + suffix)
        render.write_video(path, pictures, key_frames_only=True)
        source = open_clip_source(path)
        decoded.append(source.read(indices).astype(int))
        source.close()
    assert np.abs(decoded[0] - frames[indices]).mean() < 6
    assert np.array_equal(decoded[0], decoded[1][::-1])
    assert not np.array_equal(decoded[0], decoded[1])


def _broken_draw(side, clip):
    raise OSError(28, "No space left on device")


def test_a_failure_leaves_nothing(few, tmp_path, monkeypatch):
    monkeypatch.setattr(render, "_draw", _broken_draw)
    with pytest.raises(OSError, match="No space left"):
        prepare_demo(tmp_path / "demo", "order")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_kill_half_way_leaves_no_folder_and_no_process(few, tmp_path):
    root = tmp_path / "demo"
    process = multiprocessing.get_context("fork").Process(target=prepare_demo, args=(root, "order"))
    process.start()
    wait_until(lambda: any(tmp_path.glob(".demo.drawing-*/*/*/*")))
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    process.join()
    assert workers
    assert not root.exists()
    wait_until(lambda: not any(Path("/proc", worker, "exe").exists() for worker in workers))

    prepare_demo(root, "order")
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]
    assert len(list(root.glob("t*/*/*"))) == 4 * len(ORDER_TEXTS)


def wait_until(true, seconds=60):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_finished_folder_is_used_again(one, tmp_path):
    root = tmp_path / "demo"
    prepare_demo(root, "order")
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    prepare_demo(root, "order")
    assert before == {path: path.stat().st_mtime_ns for path in root.rglob("*")}


@pytest.mark.slow
def test_another_version_is_drawn_anew(one, tmp_path):
    root = tmp_path / "demo"
    prepare_demo(root, "order")
    (root / render.MARKER).write_text(json.dumps({"demo": "order", "version": 0}))
    (root / "old").touch()
    prepare_demo(root, "order")
    assert not (root / "old").exists()
    assert json.loads((root / render.MARKER).read_text())["version"] == render.VERSION


@pytest.mark.parametrize("name", ["thesis.txt", render.MARKER])
def test_a_folder_of_somebody_else_is_left_alone(tmp_path, name):
    (tmp_path / name).write_text('["years of work"]')
    with pytest.raises(InputError, match="holds other files"):
        prepare_demo(tmp_path, "expressions")
    assert (tmp_path / name).read_text() == '["years of work"]'


def test_the_order_configuration_has_the_texts_of_its_classes():
    config = yaml.safe_load(config_path("demo-order").read_text())
    pairs = zip(config["data"]["classes"], config["model"]["texts"], strict=True)
    assert dict(pairs) == ORDER_TEXTS
