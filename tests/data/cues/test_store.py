"""What is written is read back, on this disk and on another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.damage import damaged

from peclip_fast.data.cues.store import (
    Cues,
    IndexRow,
    cue_file,
    read_cues,
    read_index,
    read_note,
    write_cues,
    write_index,
)
from peclip_fast.data.records import ClipRecord
from peclip_fast.errors import InputError


def record(path: str, **values: float) -> ClipRecord:
    return ClipRecord(Path(path), 0, **values)


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, Cues]:
    """A clip of 6 frames."""
    rng = np.random.default_rng()
    cues = Cues(rng.uniform(0, 90, (6, 468, 2)), (90, 160))
    write_cues(tmp_path / "clip.npz", cues)
    return tmp_path / "clip.npz", cues


@pytest.mark.parametrize(
    ("frames", "points", "size"), [(1, 468, (17, 31)), (5, 68, (1080, 333)), (3, 1, (1, 1))]
)
def test_everything_comes_back(tmp_path, frames, points, size):
    """To half a step of 1/8192 of the longer side, also outside the frame, and NaN as NaN."""
    rng = np.random.default_rng()
    longer = max(size)
    places = rng.uniform(-3.9 * longer, 3.9 * longer, (frames, points, 2))
    places[rng.random(places.shape) < 0.1] = np.nan
    maps = rng.integers(0, 8, (frames, 13, 7)).astype(np.uint8)
    found = rng.random(frames) < 0.5
    path = tmp_path / "deep/er/clip.npz"
    write_cues(path, Cues(places, size, maps, found), "made by a test")
    cues = read_cues(path, range(frames))
    assert cues.points.dtype == np.float64
    assert np.array_equal(np.isnan(cues.points), np.isnan(places))
    assert np.nanmax(np.abs(cues.points - places), initial=0) <= longer / 8192 / 2 * (1 + 1e-9)
    assert cues.size == size
    assert np.array_equal(cues.regions, maps)
    assert np.array_equal(cues.found, found)
    assert read_note(path) == "made by a test"


def test_far_outside_is_at_the_end_of_what_is_kept(tmp_path):
    points = np.array([[[-1e9, 1e9], [np.inf, -np.inf], [np.nan, 0]]])
    write_cues(tmp_path / "far.npz", Cues(points, (10, 8)))
    (kept,) = read_cues(tmp_path / "far.npz", [0]).points
    assert np.abs(kept[:2]) == pytest.approx(np.full((2, 2), 40), abs=0.01)
    assert np.array_equal(np.sign(kept[:2]), [[-1, 1], [1, -1]])
    assert np.isnan(kept[2, 0])


def test_some_frames_in_any_order(written):
    path, cues = written
    for frames in ([5, 0, 0], (2, 1), range(3, 5)):
        read = read_cues(path, frames)
        assert read.points == pytest.approx(cues.points[list(frames)], abs=160 / 8192)
        assert read.regions is None
        assert read.found is None


def test_fewer_frames_than_asked(written):
    with pytest.raises(InputError, match=r"clip\.npz: cues of 6 frames, but the clip has frame 6"):
        read_cues(written[0], [0, 6])


def test_damage(written):
    path, _ = written
    for data in damaged(path.read_bytes(), 150):
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"clip\.npz: (has no digest|damaged): "):
            read_cues(path, [0])


def test_missing_and_broken_files(written, tmp_path):
    path, _ = written
    whole = path.read_bytes()
    with pytest.raises(InputError, match=r"gone\.npz: the cues of the clip are not there"):
        read_cues(tmp_path / "gone.npz", [0])
    rng = np.random.default_rng()
    flipped = bytearray(whole)
    place = int(rng.integers(200, len(whole) // 2))  # among the compressed points
    flipped[place] ^= 0xFF
    np.savez(tmp_path / "other.npz", points=np.zeros((2, 3, 2)))
    contents = [b"", b"text", whole[: len(whole) // 2], bytes(flipped)]
    for content in [*contents, (tmp_path / "other.npz").read_bytes()]:
        path.write_bytes(content)
        for read in (lambda: read_cues(path, [0]), lambda: read_note(path)):
            with pytest.raises(InputError, match=r"clip\.npz: (has no digest|damaged)"):
                read()
    with pytest.raises(InputError, match=r"no cues of a clip"):
        read_cues(tmp_path, [0])


def test_an_index_on_another_disk(tmp_path):
    names = ["train/a b/1", "train/a b/1.mp4#t=0,0.4", "train/a b/1.mp4#t=0.4,", 'odd,"name"/2']
    rows = [IndexRow(name, cue_file(name), 5, 4) for name in names]
    write_index(tmp_path, rows, {"landmarks": "none"})
    clips = [
        record("/disk/set/train/a b/1.mp4", start=0.4),
        record("/disk/set/train/a b/1.mp4", end=0.4),
        record('/disk/set/odd,"name"/2'),
        record("/disk/set/train/a b/without"),
    ]
    assert read_index(tmp_path, clips) == {
        "/disk/set/train/a b/1.mp4#t=0.4,": tmp_path / "train/a b/1.mp4#t=0.4,.npz",
        "/disk/set/train/a b/1.mp4#t=0,0.4": tmp_path / "train/a b/1.mp4#t=0,0.4.npz",
        '/disk/set/odd,"name"/2': tmp_path / 'odd,"name"/2.npz',
    }


def test_an_index_that_is_not_one(tmp_path):
    clips = [record("/disk/train/1")]
    with pytest.raises(InputError, match=r"cues\.csv: not there; expected the folder that"):
        read_index(tmp_path, clips)
    write_index(tmp_path, [IndexRow("train/1", "train/1.npz", 5, 5)], {})
    with (tmp_path / "cues.csv").open("a") as file:
        file.write("train/2,train/2.npz\n")
    with pytest.raises(InputError, match=r"cues\.csv:3: expected clip,file,frames,faces"):
        read_index(tmp_path, clips)
    write_index(tmp_path, [IndexRow("elsewhere", "elsewhere.npz", 5, 5)], {})
    with pytest.raises(InputError, match=r"cues\.csv:2: no name here is that of a clip"):
        read_index(tmp_path, clips)


def test_names_outside_the_dataset_stay_below_the_folder():
    assert cue_file("/absolute/clip.mp4") == "absolute/clip.mp4.npz"
