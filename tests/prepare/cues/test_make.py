"""The command, with bright squares for faces: counts, resumption, what goes wrong, the sheet."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers.clips.bright_faces import LAYOUT, BrightFaces, write_faces, write_grey_video
from PIL import Image

from peclip_fast.commands.data.cues import main
from peclip_fast.data.cues.regions import REGIONS
from peclip_fast.data.cues.store import read_cues, read_index
from peclip_fast.data.records import ClipRecord
from peclip_fast.prepare.cues import make
from peclip_fast.prepare.cues.make import named_clips

RED = (255, 0, 0)


@pytest.fixture(autouse=True)
def squares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make, "LandmarkModel", BrightFaces)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four clips: with a face, with one in half of the frames, without, and parts of a video."""
    root = tmp_path / "clips"
    write_faces(root / "a/whole", [(5, 9), (6, 9), (7, 9)])
    write_faces(root / "a/half", [(30, 20), None, None, (31, 20)])
    write_faces(root / "empty", [None, None])
    write_grey_video(root / "long.mp4", 40)
    (root / "train.csv").write_text(
        "path,label\na/whole,x\na/half,y\nlong.mp4,x,,0.4\nlong.mp4,y,0.4,1.2\n"
    )
    (root / "test.csv").write_text("path,label\na/half,y\nempty,x\n")
    return root


def options(root: Path, *more: str) -> list[str]:
    """Into the folder ``out`` beside the clips."""
    lists = {f"{split}_list": str(root / f"{split}.csv") for split in ("train", "test")}
    config = root.parent / "few.yaml"
    config.write_text(yaml.safe_dump({"data": {"dataset": "csv", "root": str(root), **lists}}))
    output = str(root.parent / "out")
    return [str(config), "--output", output, "--data.num_workers", "2", *more]


def times(folder: Path) -> dict[str, int]:
    files = folder.rglob("*.npz")
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in files}


def rows(folder: Path) -> dict[str, list[str]]:
    with (folder / "cues.csv").open() as file:
        return {row[0]: row[1:] for row in csv.reader(file)}


def test_every_clip_gets_its_cues(root, tmp_path, capsys):
    assert main(options(root)) == 0
    assert rows(tmp_path / "out") == {
        "clip": ["file", "frames", "faces"],
        "a/whole": ["a/whole.npz", "3", "3"],
        "a/half": ["a/half.npz", "4", "2"],
        "long.mp4#t=0,0.4": ["long.mp4#t=0,0.4.npz", "10", "0"],
        "long.mp4#t=0.4,1.2": ["long.mp4#t=0.4,1.2.npz", "20", "0"],
        "empty": ["empty.npz", "2", "0"],
    }
    printed = capsys.readouterr().out
    for line in (
        "clips                5",
        "made now             5",
        "frames               39",
        "frames with a face   5 (12.82%)",
        "clips without a face 3",
        "landmarks by         bright squares",
        "regions by           polygons over the landmarks",
        "no face: empty",
    ):
        assert line in printed.splitlines()
    assert json.loads((tmp_path / "out/cues.json").read_text()) == {
        "landmarks": "bright squares",
        "regions": "polygons over the landmarks",
        "clips": 5,
        "frames": 39,
        "frames_with_face": 5,
        "clips_without_face": 3,
        "bad_clips": 0,
    }
    cues = read_cues(tmp_path / "out/a/half.npz", range(4))
    assert cues.found.tolist() == [True, False, False, True]
    for frame, x in enumerate((30, 30, 31, 31)):
        assert cues.points[frame] == pytest.approx(LAYOUT * 20 + (x, 20), abs=64 / 8192)
    # The dataset may be on another disk when the cues are read.
    records = [ClipRecord(Path("/elsewhere/clips/a/whole"), 0)]
    assert read_index(tmp_path / "out", records) == {
        "/elsewhere/clips/a/whole": tmp_path / "out/a/whole.npz"
    }


def test_what_is_there_is_not_made_again(root, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "out"
    assert main(options(root)) == 0
    before, table = times(folder), rows(folder)
    (folder / "a/whole.npz").unlink()
    broken = folder / "a/half.npz"
    broken.write_bytes(broken.read_bytes()[:-300])
    write_faces(root / "more", [(1, 1)])  # a frame more than before
    shutil.move(root / "more/000.png", root / "empty/009.png")
    capsys.readouterr()
    assert main(options(root)) == 0
    assert "made now             3\nmade before          2\n" in capsys.readouterr().out
    after = times(folder)
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"a/whole.npz", "a/half.npz", "empty.npz"}
    assert rows(folder) == table | {"empty": ["empty.npz", "3", "1"]}
    # By another model all are made again.
    monkeypatch.setattr(BrightFaces, "origin", staticmethod(lambda: "other squares"))
    assert main(options(root)) == 0
    assert "made now             5\n" in capsys.readouterr().out
    assert json.loads((folder / "cues.json").read_text())["landmarks"] == "other squares"


def test_a_run_that_was_ended_goes_on(root, tmp_path, capsys):
    """Its process dies on the last clip of one; the clips before stay and count."""
    folder = tmp_path / "out"
    shutil.rmtree(root / "empty")
    write_faces(root / "empty", [(2, 2), (3, 3)], RED)
    (folder / "a").mkdir(parents=True)
    left = folder / "a/whole.npz.tmp-1"
    left.write_bytes(b"half of it")
    arguments = options(root, "--data.num_workers", "1")
    assert main(arguments) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {root / 'empty'}: ")
    assert "was ended by SIGKILL" in error
    assert not left.exists()
    assert not (folder / "cues.csv").exists()
    before = times(folder)
    assert len(before) == 4
    assert main([*arguments, "--data.on_bad_clip", "skip"]) == 0
    printed = capsys.readouterr().out
    assert "made now             0\nmade before          4\n" in printed
    assert f"skipped: {root / 'empty'}: the process that read it was ended by SIGKILL" in printed
    assert times(folder) == before
    assert "empty" not in rows(folder)
    assert json.loads((folder / "cues.json").read_text())["bad_clips"] == 1


def test_an_unreadable_clip_is_named(root, capsys):
    (root / "a/half/001.png").write_bytes(b"no image")
    assert main(options(root)) == 2
    assert f"error: {root / 'a/half/001.png'}: not a readable image" in capsys.readouterr().err


def test_a_network_finds_the_regions(root, tmp_path, capsys, monkeypatch):
    """Its maps are stored, it is named, and another file's maps are made anew."""

    class Hair:
        def __init__(self, parsing):
            self.value = REGIONS.index(parsing.regions[17])

        def regions(self, frame, points):
            return np.full((6, 8), self.value, np.uint8)

    monkeypatch.setattr(make, "ParsingModel", Hair)
    network = tmp_path / "parsing.onnx"
    network.write_bytes(b"abc")
    assert main(options(root, "--parsing", str(network))) == 0
    cues = read_cues(tmp_path / "out/a/half.npz", [3, 1])
    assert cues.regions.shape == (2, 6, 8)
    assert (cues.regions == REGIONS.index("hair")).all()
    assert read_cues(tmp_path / "out/empty.npz", [0]).regions is None
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    named = f"parsing.onnx, SHA-256 {digest}"
    assert f"regions by           {named}" in capsys.readouterr().out
    assert json.loads((tmp_path / "out/cues.json").read_text())["regions"] == named
    classes = tmp_path / "classes.txt"
    classes.write_text("".join(f"{number}: lips\n" for number in range(18)))
    more = ("--parsing", str(network), "--parsing_classes", str(classes))
    assert main(options(root, *more)) == 0
    assert "made now             5" in capsys.readouterr().out
    cues = read_cues(tmp_path / "out/a/half.npz", [0])
    assert (cues.regions == REGIONS.index("lips")).all()


def test_the_sheet_shows_landmarks_and_regions(root, tmp_path):
    sheet = tmp_path / "sheet.png"
    assert main(options(root, "--sheet", str(sheet))) == 0
    image = np.asarray(Image.open(io.BytesIO(sheet.read_bytes())).convert("RGB")).astype(int)
    assert image.shape[1] == 9 * 192
    green = (image[..., 1] > 180) & (image[..., [0, 2]] < 90).all(-1)
    assert green.sum() > 500
    blue = (np.abs(image - (0, 114, 178)) < 12).all(-1)  # the face's region
    assert blue.sum() > 500


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--parsing", "gone.onnx"], "--parsing gone.onnx: can't be read"),
        (["--parsing_classes", "few.yaml"], "--parsing_classes: says what a network's classes are"),
        (["--timeout", "0"], "--timeout 0: expected more than 0"),
    ],
)
def test_bad_options_are_one_line(root, capsys, more, message):
    assert main(options(root, *more)) == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")


def test_the_source_is_not_written_to(root, capsys):
    assert main([*options(root), "--output", str(root / "cues")]) == 2
    assert "holds the source" in capsys.readouterr().err
    assert main(options(root)[:1]) == 2
    assert capsys.readouterr().err == "error: --output: expected the folder of the cues\n"


def test_a_missing_runtime_is_one_line(root, capsys, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert main(options(root)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: onnxruntime can't be used (")
    assert error.endswith("pip install 'peclip-fast[faces]'\n")
    assert len(error.splitlines()) == 1


def test_names_are_below_the_root_and_differ():
    part = ClipRecord(Path("/data/set/b/1.mp4"), 0, start=1234.5678, end=1240.0)
    later = ClipRecord(Path("/data/set/b/1.mp4"), 0, start=1234.5679)
    records = [ClipRecord(Path("/data/set/a/1"), 0), part, later]
    assert list(named_clips(records, Path("/data"))) == [
        "set/a/1",
        "set/b/1.mp4#t=1234.5678,1240",
        "set/b/1.mp4#t=1234.5679,",
    ]
    assert next(iter(named_clips(records, None))) == "a/1"
    # A clip that isn't below the root: all are named below what they share.
    outside = ClipRecord(Path("/data/other/../more/a/1"), 0)
    assert list(named_clips([*records, outside], Path("/data/set")))[0::3] == [
        "set/a/1",
        "more/a/1",
    ]


def test_help(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    assert "--parsing" in capsys.readouterr().out
