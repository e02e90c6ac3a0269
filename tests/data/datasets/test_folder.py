from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from peclip_fast.config.data import DataConfig
from peclip_fast.data.splits import DataWarning, open_splits
from peclip_fast.demo import dataset
from peclip_fast.errors import InputError


def tree(root: Path, classes: list[str], splits: tuple[str, ...] = ("train", "test")) -> Path:
    for split in splits:
        for name in classes:
            folder = root / split / name
            folder.mkdir(parents=True)
            for clip in ("clip_10.mp4", "clip_2.webm", "notes.txt", ".hidden.mp4"):
                (folder / clip).touch()
    return root


@pytest.mark.parametrize("test_name", ["test", "val", "validation"])
def test_classes_are_the_folders(tmp_path: Path, test_name: str) -> None:
    tree(tmp_path, ["wave", "clap"], ("train", test_name))
    splits = open_splits(DataConfig("folder", tmp_path))
    assert splits.classes == ("clap", "wave")
    assert [(r.path.name, r.label) for r in splits.train] == [
        ("clip_2.webm", 0),
        ("clip_10.mp4", 0),
        ("clip_2.webm", 1),
        ("clip_10.mp4", 1),
    ]
    assert splits.test[0].path == tmp_path / test_name / "clap/clip_2.webm"


def test_frame_folders_are_clips(tmp_path: Path, frames_at: Callable[..., Path]) -> None:
    for split in ("train", "test"):
        frames_at(tmp_path / split / "wave/clip 1", 2)
    splits = open_splits(DataConfig("folder", tmp_path))
    assert [r.path.name for r in splits.train] == ["clip 1"]


def test_given_classes_keep_their_order(tmp_path: Path) -> None:
    tree(tmp_path, ["wave", "clap"])
    splits = open_splits(DataConfig("folder", tmp_path, classes=["wave", "sit", "clap"]))
    assert splits.classes == ("wave", "sit", "clap")
    assert {r.label for r in splits.test} == {0, 2}
    with pytest.raises(InputError, match=r"train/wave: unknown class 'wave'; known classes: clap"):
        open_splits(DataConfig("folder", tmp_path, classes=["clap"]))


def test_names_of_other_tasks(tmp_path: Path) -> None:
    """Underscores, capitals, spaces and any script; an umlaut is one letter however it is kept."""
    names = ["pour_water", "PourWater", "zwei Hände", "下へ", "a.b", "3"]
    tree(tmp_path, [*names, "u\u0308ben"], ("train",))
    tree(tmp_path, [*names, "üben"], ("test",))
    splits = open_splits(DataConfig("folder", tmp_path))
    assert splits.classes == ("3", "a.b", "pour_water", "PourWater", "zwei Hände", "üben", "下へ")
    for records in (splits.train, splits.test):
        assert sorted(r.label for r in records) == [label for label in range(7) for _ in range(2)]
    assert all(r.path.exists() for r in (*splits.train, *splits.test))


def test_demo_has_the_papers_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "_draw_once", lambda root, variant: None)
    seven = ["happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear"]
    tree(tmp_path / "a", sorted(seven))
    assert list(dataset.read_expressions(DataConfig("demo", tmp_path / "a")).classes) == seven
    tree(tmp_path / "b", ["fear then anger", "anger then fear", "fear"])
    assert dataset.read_order(DataConfig("demo-order", tmp_path / "b")).classes == (
        "fear",
        "anger then fear",
        "fear then anger",
    )


def test_empty_folders(tmp_path: Path) -> None:
    tree(tmp_path, ["clap"])
    (tmp_path / "test/wave").mkdir()
    with pytest.raises(InputError, match=rf"^{tmp_path}/test/wave: empty folder: expected video"):
        open_splits(DataConfig("folder", tmp_path))


def test_split_without_classes(tmp_path: Path) -> None:
    tree(tmp_path, ["clap"], ("train",))
    with pytest.raises(InputError, match=rf"^{tmp_path}: no test split: expected test or"):
        open_splits(DataConfig("folder", tmp_path))
    (tmp_path / "test").mkdir()
    with pytest.raises(InputError, match=rf"^{tmp_path}/test: empty folder: expected one folder"):
        open_splits(DataConfig("folder", tmp_path))


def test_what_systems_leave_is_neither_class_nor_clip(tmp_path: Path) -> None:
    tree(tmp_path, ["clap", "wave"])
    for name in ("train/__MACOSX/clap", "train/clap/@eaDir/clip_2.webm", "test/.git"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("train/__MACOSX/clap/._clip_2.webm", "train/Thumbs.db", "test/wave/._clip_2.webm"):
        (tmp_path / name).touch()
    (tmp_path / "val").mkdir()
    with pytest.warns(
        DataWarning, match=r"^passed over 14 .*, 4 left by the .*, 1 not read, as .* \(val\)"
    ):
        splits = open_splits(DataConfig("folder", tmp_path))
    assert splits.classes == ("clap", "wave")
    assert len(splits.train) == len(splits.test) == 4
    assert len(splits.passed_over) == 14
    (tmp_path / "test/wave/clip_2.webm").unlink()
    (tmp_path / "test/wave/clip_10.mp4").unlink()
    with pytest.raises(InputError, match=r"test/wave: no clip: expected video .*, got 1 left by"):
        open_splits(DataConfig("folder", tmp_path))


def test_links_to_folders_are_followed(tmp_path: Path) -> None:
    tree(tmp_path / "elsewhere", ["clap"])
    (tmp_path / "d/test").mkdir(parents=True)
    (tmp_path / "d/train").symlink_to(tmp_path / "elsewhere/train")
    (tmp_path / "d/test/clap").symlink_to(tmp_path / "elsewhere/test/clap")
    (tmp_path / "d/test/around").symlink_to(tmp_path / "d")
    splits = open_splits(DataConfig("folder", tmp_path / "d"))
    assert splits.classes == ("clap",)
    assert (len(splits.train), len(splits.test)) == (2, 2)


@pytest.mark.parametrize(("train", "test"), [("TRAIN", "TEST"), ("Training", "Validation")])
def test_capitals_of_the_splits(tmp_path: Path, train: str, test: str) -> None:
    tree(tmp_path, ["clap"], (train, test))
    assert len(open_splits(DataConfig("folder", tmp_path)).test) == 2
    tree(tmp_path, ["clap"], (train.capitalize().replace("Training", "tRAINING"),))
    with pytest.raises(InputError, match=r": expected one training split$"):
        open_splits(DataConfig("folder", tmp_path))


def test_one_class_in_two_spellings(tmp_path: Path) -> None:
    tree(tmp_path, ["Clap"], ("train",))
    tree(tmp_path, ["clap"], ("test",))
    with pytest.raises(InputError, match=r"test/clap: the class 'clap' is 'Clap' in .*train/Clap;"):
        open_splits(DataConfig("folder", tmp_path))


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    tree(tmp_path, ["clap"])
    (tmp_path / "train/clap" / "caf\udce9.mp4").touch()
    (tmp_path / "train/clap" / "caf\udce9.txt").touch()
    with pytest.warns(DataWarning, match=r"caf\\udce9\.txt"):
        assert len(open_splits(DataConfig("folder", tmp_path)).train) == 3
