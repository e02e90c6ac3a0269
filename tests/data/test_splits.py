"""Every dataset as it is distributed, in miniature."""

from __future__ import annotations

import gc
import shutil
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from peclip_fast.config.data import DataConfig
from peclip_fast.data.datasets.layout import DatasetCountWarning
from peclip_fast.data.records import DatasetSplits
from peclip_fast.data.splits import DataWarning, open_files, open_splits
from peclip_fast.errors import InputError

SEVEN = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")
ELEVEN = [
    "anger",
    "disgust",
    "fear",
    "happiness",
    "neutral",
    "sadness",
    "surprise",
    "contempt",
    "anxiety",
    "helplessness",
    "disappointment",
]


def opened(dataset: str, root: Path, **options: object) -> DatasetSplits:
    """Opens a miniature; its counts are of course not the published ones."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DatasetCountWarning)
        return open_splits(DataConfig(dataset=dataset, root=root, **options))  # type: ignore[arg-type]


def clips(splits: DatasetSplits, split: str, root: Path) -> list[tuple[str, str]]:
    """(path below root, class name) of each clip of a split."""
    return [
        (record.path.relative_to(root).as_posix(), splits.classes[record.label])
        for record in getattr(splits, split)
    ]


def touch(path: Path, data: bytes = b"") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def dfew(root: Path, spelling: str = "single_labeled") -> Path:
    for fold in range(1, 6):
        for split in ("train", "test"):
            rows = [f"{fold}000{k},{k}" for k in range(1, 8)] if split == "train" else ["7,1"]
            folder = root / "EmoLabel_DataSplit" / f"{split}({spelling})"
            touch(folder / f"set_{fold}.csv", "\r\n".join(["video_name,label", *rows]).encode())
    return root


@pytest.mark.parametrize("spelling", ["single_labeled", "single-labeled"])
def test_dfew_frames(tmp_path: Path, spelling: str) -> None:
    (tmp_path / "Clip/clip_224x224").mkdir(parents=True)
    splits = opened("dfew", dfew(tmp_path, spelling), fold=3)
    assert splits.name == "dfew"
    assert splits.classes == SEVEN
    assert clips(splits, "train", tmp_path) == [
        (f"Clip/clip_224x224/3000{k}", SEVEN[k - 1]) for k in range(1, 8)
    ]
    assert clips(splits, "test", tmp_path) == [("Clip/clip_224x224/00007", "happiness")]
    assert splits.test[0].source.endswith("set_3.csv:2")


def test_dfew_videos(tmp_path: Path) -> None:
    (tmp_path / "Clip/original").mkdir(parents=True)
    splits = opened("dfew", dfew(tmp_path))
    assert clips(splits, "test", tmp_path) == [("Clip/original/00007.mp4", "happiness")]


def test_dfew_label_out_of_range(tmp_path: Path) -> None:
    (tmp_path / "Clip/original").mkdir(parents=True)
    bad = dfew(tmp_path) / "EmoLabel_DataSplit/test(single_labeled)/set_1.csv"
    bad.write_text("video_name,label\n1,1\n2,8\n")
    with pytest.raises(InputError, match=r"set_1\.csv:3: unknown label 8; expected 1 \(happiness"):
        opened("dfew", tmp_path)
    bad.write_text("video_name,label\n1\n")
    with pytest.raises(InputError, match=r"set_1\.csv:2: expected 'video_name,label', got '1'"):
        opened("dfew", tmp_path)


def test_dfew_counts_are_compared_with_the_published_ones(tmp_path: Path) -> None:
    (tmp_path / "Clip/original").mkdir(parents=True)
    with pytest.warns(DatasetCountWarning) as caught:
        open_splits(DataConfig(dataset="dfew", root=dfew(tmp_path)))
    texts = [str(w.message) for w in caught]
    assert "dfew, all single-labelled clips: 8 clips, published 11697" in texts
    assert any(
        t.startswith("dfew fold 1 test: 1 clips, published 2341: happiness 1 (published 489)")
        for t in texts
    )


def test_dfew_with_lists_in_place_of_its_splits(tmp_path: Path) -> None:
    (tmp_path / "Clip/clip_224x224/00001").mkdir(parents=True)
    listed = tmp_path / "list.txt"
    listed.write_bytes(b"D:\\x\\Clip\\clip_224x224\\00001 144 1\r\nD:/x/Clip/clip_224x224/2 9 6")
    splits = open_splits(DataConfig("dfew", tmp_path, train_list=listed, test_list=listed))
    assert clips(splits, "test", tmp_path) == [
        ("Clip/clip_224x224/00001", "sadness"),
        ("Clip/clip_224x224/2", "fear"),
    ]
    assert splits.train == splits.test


def test_afew_list_is_alphabetical(tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("AFEW/val/Angry/1 62 0\nAFEW/val/Surprise/2 53 6\n")
    splits = open_splits(DataConfig("afew", tmp_path, test_list=listed))
    assert [splits.classes[r.label] for r in splits.test] == ["anger", "surprise"]
    assert splits.train == []


def test_real_lists_by_name(assets: Path) -> None:
    afew = open_splits(DataConfig("afew", test_list=assets / "lists/AFEW_val.txt"))
    spelled = {"Happy": "happiness", "Sad": "sadness", "Angry": "anger"}
    for record in afew.test:
        folder = record.path.parent.name
        assert afew.classes[record.label] == spelled.get(folder, folder.lower())
    dfew = open_splits(DataConfig("dfew", test_list=assets / "lists/DFEW_set_1_test.txt"))
    counts = [sum(r.label == label for r in dfew.test) for label in range(7)]
    # The published counts of fold 1: surprise 294, disgust 29, fear 181.
    assert counts == [489, 379, 534, 435, 294, 29, 181]


def test_ferv39k(tmp_path: Path) -> None:
    (tmp_path / "2_ClipsforFaceCrop").mkdir()
    setups = tmp_path / "4_setups/All_scenes"
    folders = ["Happy", "Sad", "Neutral", "Angry", "Surprise", "Disgust", "Fear"]
    lines = [f"Action/{name}/001{k} {name}" for k, name in enumerate(folders)]
    touch(setups / "train_All.csv", "\r\n".join(lines).encode())
    touch(setups / "test_All.csv", b"Daily Life/Happy/0015 Happy")
    splits = opened("ferv39k", tmp_path)
    assert splits.classes == SEVEN
    assert clips(splits, "train", tmp_path) == [
        (f"2_ClipsforFaceCrop/Action/{name}/001{k}", SEVEN[k]) for k, name in enumerate(folders)
    ]
    assert clips(splits, "test", tmp_path) == [
        ("2_ClipsforFaceCrop/Daily Life/Happy/0015", "happiness")
    ]
    touch(setups / "test_All.csv", b"Action/Happy/0015 Happy\nAction/Bored/0001 Bored\n")
    with pytest.raises(
        InputError, match=r"test_All\.csv:2: unknown class 'Bored'; known classes: h"
    ):
        opened("ferv39k", tmp_path)
    touch(setups / "test_All.csv", b"Action/Happy/0015\n")
    with pytest.raises(InputError, match=r"test_All\.csv:1: expected '<scene>/"):
        opened("ferv39k", tmp_path)


@pytest.mark.parametrize("prefix", ["", "Train & Test Set"])
@pytest.mark.parametrize("media", ["data/frames", "clips"])
def test_mafw_single(tmp_path: Path, prefix: str, media: str) -> None:
    (tmp_path / media).mkdir(parents=True)
    folder = tmp_path / prefix / "single/no_caption/set_2"
    touch(folder / "train.txt", b"00025.mp4 anger\r\n00026.mp4 disappointment\r\n")
    touch(folder / "test.txt", b"00030.mp4 contempt\r\n")
    splits = opened("mafw", tmp_path, fold=2)
    assert splits.classes == tuple(ELEVEN)
    suffix = "" if media.endswith("frames") else ".mp4"
    assert clips(splits, "train", tmp_path) == [
        (f"{media}/00025{suffix}", "anger"),
        (f"{media}/00026{suffix}", "disappointment"),
    ]
    assert clips(splits, "test", tmp_path) == [(f"{media}/00030{suffix}", "contempt")]
    touch(folder / "test.txt", b"00030.mp4 contempt\r\n00031.mp4 bored\r\n")
    with pytest.raises(InputError, match=r"test\.txt:2: unknown class 'bored'; known classes: ang"):
        opened("mafw", tmp_path, fold=2)


def test_mafw_captions(tmp_path: Path) -> None:
    (tmp_path / "data/clips").mkdir(parents=True)
    folder = tmp_path / "single/with_caption/set_1"
    line = "00025.mp4\tanger\t一个男人皱着眉头\tA man frowns, and shouts.\r\n"
    for split in ("train", "test"):
        touch(folder / f"{split}.txt", line.encode("gbk"))
    splits = opened("mafw", tmp_path)
    assert clips(splits, "test", tmp_path) == [("data/clips/00025.mp4", "anger")]
    touch(folder / "test.txt", b"00025.mp4\tanger\r\n")
    with pytest.raises(InputError, match=r"test\.txt:1: expected '<clip>\.mp4, label and two"):
        opened("mafw", tmp_path)


def test_mafw_compound(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    folder = tmp_path / "compound/no_caption/set_5"
    touch(
        folder / "train.txt",
        b"1.mp4 fear_surprise\r\n2.mp4 anger_disgust_contempt\r\n3.mp4 sadness\r\n",
    )
    touch(folder / "test.txt", b"4.mp4 anger_anxiety\r\n5.mp4 fear_surprise\r\n")
    splits = opened("mafw-compound", tmp_path, fold=5)
    assert splits.classes == (
        "sadness",
        "anger_anxiety",
        "fear_surprise",
        "anger_disgust_contempt",
    )
    assert [c for _, c in clips(splits, "test", tmp_path)] == ["anger_anxiety", "fear_surprise"]
    touch(folder / "test.txt", b"4.mp4 anger_bored\r\n")
    with pytest.raises(InputError, match=r"test\.txt:1: unknown class 'bored'"):
        opened("mafw-compound", tmp_path, fold=5)


@pytest.mark.parametrize("kind", ["frames", "avi"])
@pytest.mark.parametrize("train", ["train", "Train"])
def test_afew(tmp_path: Path, frames_at: Callable[..., Path], kind: str, train: str) -> None:
    for split in (train, "val"):
        for name in ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise"):
            clip = tmp_path / split / name / "000149120"
            if kind == "frames":
                frames_at(clip, 1)
            else:
                touch(clip.with_suffix(".avi"))
    splits = opened("afew", tmp_path)
    assert splits.classes == tuple(sorted(SEVEN))
    suffix = "" if kind == "frames" else ".avi"
    assert clips(splits, "test", tmp_path)[3] == (f"val/Happy/000149120{suffix}", "happiness")
    assert [r.label for r in splits.train] == list(range(7))
    (tmp_path / "val/Bored/1").mkdir(parents=True)
    with pytest.raises(InputError, match=r"val/Bored: unknown class 'Bored'"):
        opened("afew", tmp_path)


@pytest.mark.parametrize("nested", [False, True])
def test_afew_as_its_zips_hold_it(tmp_path: Path, nested: bool) -> None:
    for split in ("Train_AFEW", "Val_AFEW", "Test_AFEW"):
        above = tmp_path / split / split if nested else tmp_path / split
        for name in ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise"):
            touch(above / name / "000149120.avi")
        for folder in ("AlignedFaces_LBPTOP_Points", "AlignedFaces_LBPTOP_Points_Val", "LBPTOP"):
            touch(above / folder / "Faces/000149120/000.jpg")
        touch(above / "AlignedFaces_LBPTOP_Points.zip")
    splits = opened("afew", tmp_path)
    assert [(r.label, r.path.suffix) for r in splits.train] == [(k, ".avi") for k in range(7)]
    assert {r.path.relative_to(tmp_path).parts[0] for r in splits.test} == {"Val_AFEW"}
    reasons = [reason for _, reason in splits.passed_over]
    assert sorted(reasons) == ["features, not clips"] * 6 + ["outside of a folder of clips"] * 2
    shutil.rmtree(tmp_path / "Val_AFEW")
    with pytest.raises(InputError, match="no validation split: expected Val_AFEW or"):
        opened("afew", tmp_path)


@pytest.mark.parametrize("folder", ["", "VideoFlash"])
def test_crema_d(tmp_path: Path, folder: str) -> None:
    codes = {"ANG": "anger", "DIS": "disgust", "FEA": "fear"}
    codes |= {"HAP": "happiness", "NEU": "neutral", "SAD": "sadness"}
    for actor in range(1001, 1092):
        for code, level in zip(codes, ["XX", "LO", "MD", "HI", "X", "XX"], strict=True):
            touch(tmp_path / folder / f"{actor}_IEO_{code}_{level}.flv")
    tested: list[str] = []
    for fold in range(1, 6):
        splits = opened("crema-d", tmp_path, fold=fold)
        assert len(splits.classes) == 6
        train, test = clips(splits, "train", tmp_path), clips(splits, "test", tmp_path)
        assert len(train) + len(test) == 91 * 6
        for path, name in train + test:
            assert codes[Path(path).name.split("_")[2]] == name
        actors = [{Path(path).name[:4] for path, _ in split} for split in (train, test)]
        assert not actors[0] & actors[1]
        assert len(actors[1]) == (19 if fold == 1 else 18)
        tested += actors[1]
    assert sorted(tested) == [str(actor) for actor in range(1001, 1092)]
    bad = tmp_path / folder / "1001_IEO_BOR_XX.flv"
    touch(bad)
    with pytest.raises(InputError, match=r"BOR_XX\.flv: unknown class 'BOR'"):
        opened("crema-d", tmp_path)
    bad.rename(bad.with_name("holiday.flv"))
    with pytest.raises(InputError, match=r"expected a name such as 1001_DFA_ANG_XX"):
        opened("crema-d", tmp_path)


@pytest.mark.parametrize("above", ["", "Video_Speech_Actor_{:02d}"])
def test_ravdess(tmp_path: Path, above: str) -> None:
    names = ["neutral", "calm", "happiness", "sadness", "anger", "fear", "disgust", "surprise"]
    for actor in range(1, 25):
        folder = tmp_path / above.format(actor) / f"Actor_{actor:02d}"
        for emotion in range(1, 9):
            for modality in ("01", "02"):
                touch(folder / f"{modality}-01-{emotion:02d}-01-02-01-{actor:02d}.mp4")
    tested: list[int] = []
    for fold in range(1, 7):
        splits = opened("ravdess", tmp_path, fold=fold)
        assert list(splits.classes) == names
        assert len(splits.train) == 20 * 8  # a take with and without sound counts once
        actors = {int(r.path.stem[-2:]) for r in splits.test}
        assert actors == set(range(4 * fold - 3, 4 * fold + 1))
        assert not actors & {int(r.path.stem[-2:]) for r in splits.train}
        for path, name in clips(splits, "test", tmp_path):
            assert names[int(Path(path).name.split("-")[2]) - 1] == name
        tested += actors
    assert sorted(tested) == list(range(1, 25))
    touch(folder / "01-01-09-01-02-01-24.mp4")
    with pytest.raises(InputError, match=r"unknown emotion 09; expected 01 \(neutral\) to 08"):
        opened("ravdess", tmp_path)


def test_ravdess_through_links_and_beside_sound(tmp_path: Path) -> None:
    for actor in (1, 5):
        for emotion in range(1, 9):
            take = f"01-{emotion:02d}-01-02-01-{actor:02d}"
            touch(tmp_path / f"zips/Actor_{actor:02d}/01-{take}.mp4")
            touch(tmp_path / f"zips/Actor_{actor:02d}/02-{take}.mp4")
            touch(tmp_path / f"d/Audio_Speech/Actor_{actor:02d}/03-{take}.wav")
    for actor in ("Actor_01", "Actor_05"):
        (tmp_path / "d/Video_Speech").mkdir(exist_ok=True)
        (tmp_path / "d/Video_Speech" / actor).symlink_to(tmp_path / "zips" / actor)
    (tmp_path / "d/round").symlink_to(tmp_path / "d")
    (tmp_path / "d/again").symlink_to(tmp_path / "d/Video_Speech")
    splits = opened("ravdess", tmp_path / "d")
    assert (len(splits.train), len(splits.test)) == (8, 8)
    reasons = Counter(reason for _, reason in splits.passed_over)
    assert reasons == {"sound": 16, "another file of a take": 16, "a link to a folder around it": 1}


def test_numbers_without_end_in_the_files_of_dfew(tmp_path: Path) -> None:
    (tmp_path / "Clip/original").mkdir(parents=True)
    bad = dfew(tmp_path) / "EmoLabel_DataSplit/test(single_labeled)/set_1.csv"
    for row in (f"1,{'9' * 5000}", "1,٣", ",1", "1,-1", '"1'):
        bad.write_text(f"video_name,label\n{row}\n")
        with pytest.raises(InputError, match=r"set_1\.csv:2: ") as caught:
            opened("dfew", tmp_path)
        assert len(str(caught.value)) < 400


FOLDS = {"dfew": 5, "mafw": 5, "mafw-compound": 5, "crema-d": 5, "ravdess": 6}


@pytest.mark.parametrize(("dataset", "folds"), FOLDS.items())
@pytest.mark.parametrize("beyond", [False, True])
def test_folds_outside(tmp_path: Path, dataset: str, folds: int, beyond: bool) -> None:
    fold = folds + 1 if beyond else 0
    with pytest.raises(InputError, match=rf"^fold {fold}: {dataset} has folds 1 to {folds}$"):
        opened(dataset, tmp_path, fold=fold)


@pytest.mark.parametrize("dataset", ["ferv39k", "afew", "folder", "demo"])
def test_no_folds(tmp_path: Path, dataset: str) -> None:
    with pytest.raises(InputError, match=rf"^fold 2: {dataset} has no folds"):
        opened(dataset, tmp_path, fold=2)


NAMED = ["dfew", "ferv39k", "mafw", "mafw-compound", "afew", "crema-d", "ravdess", "folder"]


@pytest.mark.parametrize("dataset", NAMED)
def test_missing_and_empty_roots(tmp_path: Path, dataset: str) -> None:
    with pytest.raises(InputError, match=rf"^data\.root: {dataset} needs the folder that holds"):
        open_splits(DataConfig(dataset=dataset))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=rf"^data\.root: {tmp_path}/absent is no folder"):
        opened(dataset, tmp_path / "absent")
    with pytest.raises(InputError, match=rf"{tmp_path}") as caught:
        opened(dataset, tmp_path)
    assert "\n" not in str(caught.value)


def test_unknown_dataset(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^data\.dataset=dfw: expected one of dfew, "):
        opened("dfw", tmp_path)


def test_what_lies_in_the_folders_of_frames_is_said(
    tmp_path: Path, frames_at: Callable[..., Path]
) -> None:
    for split in ("train", "test"):
        clip = frames_at(tmp_path / split / "clap/1", 2, "img_{:05d}.jpg")
        frames_at(clip, 2, "flow_x_{:05d}.jpg")
    told = r"passed over 2 files or folders: 2 optical flow \(flow_x_00001.jpg, flow_x_00002.jpg\)"
    with pytest.warns(DataWarning, match=rf"train/clap/1: {told}; `peclip-fast data check`"):
        splits = open_splits(DataConfig("folder", tmp_path))
    assert len(splits.train) == len(splits.test) == 1
    with pytest.warns(DataWarning, match=f"^{told}$"):
        open_files([str(clip)], DataConfig(), ["frames"])


def test_garbage_collection_is_left_as_it_was(tmp_path: Path, tiny_clips: Path) -> None:
    for enabled in (False, True):
        (gc.enable if enabled else gc.disable)()
        try:
            open_splits(DataConfig("folder", tiny_clips))
            with pytest.raises(InputError):
                opened("dfew", tmp_path)
            assert gc.isenabled() == enabled
        finally:
            gc.enable()
