"""Bad clips of every kind in one small dataset."""

from __future__ import annotations

import csv
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml

from peclip_fast.commands.data.check import main
from peclip_fast.data.decoding.video_file import VideoFile
from peclip_fast.data.splits import DataWarning
from peclip_fast.prepare import check

Writer = Callable[..., Path]


@pytest.fixture
def config(tmp_path: Path, frames_at: Writer, video_at: Writer) -> Path:
    """Five sound clips, and one that is missing, one cut short, one damaged, one miscounted."""
    root = tmp_path / "clips"
    frames_at(root / "sound", 20)
    frames_at(root / "short", 4)
    frames_at(root / "miscounted", 19)
    frames_at(root / "damaged", 20)
    (root / "damaged/00007.jpg").write_bytes(b"no image")
    video_at(root / "sound.mp4", 30)
    cut = video_at(root / "cut.mp4", 30)
    cut.write_bytes(cut.read_bytes()[:-200])
    video_at(root / "twice.avi", 18, "mjpeg", pixels="yuvj420p")
    train = ["sound 20 0", "short 4 1", "miscounted 20 0", "damaged 20 1", "twice.avi 18 1"]
    test = ["sound.mp4 30 0", "cut.mp4 30 1", "gone 20 0", "twice.avi 18 1"]
    (tmp_path / "train.txt").write_text("\n".join(f"clips/{line}" for line in train))
    (tmp_path / "test.txt").write_text("\n".join(f"clips/{line}" for line in test))
    return write_config(tmp_path / "small.yaml", dataset="list", classes=["calm", "fear"])


def write_config(path: Path, **options: object) -> Path:
    lists = {f"{split}_list": str(path.parent / f"{split}.txt") for split in ("train", "test")}
    data = {"root": str(path.parent), **lists, "num_workers": 2, **options}
    path.write_text(yaml.safe_dump({"data": data}))
    return path


def found(path: Path) -> dict[tuple[str, str, str], dict[str, str]]:
    """The rows of the list by split, name and kind."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    return {(row["split"], Path(row["path"]).name, row["kind"]): row for row in rows}


def test_every_kind_is_found(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(config.parent)
    assert main([str(config)]) == 1
    rows = found(config.parent / "small-bad-clips.csv")
    assert list(rows) == [
        ("train", "short", "short"),
        ("train", "miscounted", "miscounted"),
        ("train", "damaged", "undecodable"),
        ("test", "cut.mp4", "undecodable"),
        ("test", "gone", "missing"),
        ("test", "twice.avi", "duplicate"),
    ]
    reasons = {name: row["reason"] for (_, name, _), row in rows.items()}
    assert reasons["short"] == "4 frames, fewer than 16"
    assert reasons["miscounted"] == "19 frames on disk, the list says 20"
    assert "00007.jpg: not a readable image" in reasons["damaged"]
    assert reasons["cut.mp4"].startswith("not a readable video: Invalid data")
    assert reasons["twice.avi"].endswith("train.txt:5")
    assert rows["test", "gone", "missing"]["source"].endswith("test.txt:3")
    out, err = capsys.readouterr()
    assert err.endswith("written to small-bad-clips.csv\n")
    lines = {line.split()[0]: line.split()[1:3] for line in out.splitlines()[2:]}
    assert lines["clips"] == ["5", "4"]
    assert lines["undecodable"] == ["1", "1"]
    assert lines["short"] == ["1", "0"]


def test_quick_looks_at_headers_alone(config: Path, tmp_path: Path) -> None:
    output = tmp_path / "quick.csv"
    assert main([str(config), "--quick", "--output", str(output)]) == 1
    assert {kind for _, _, kind in found(output)} == {
        "short",
        "miscounted",
        "undecodable",
        "missing",
        "duplicate",
    }
    assert ("train", "damaged", "undecodable") not in found(output)


def test_short_clips_are_no_failure(config: Path, tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("clips/sound 20 0\nclips/short 4 1")
    (tmp_path / "test.txt").write_text("clips/sound.mp4 30 0")
    output = tmp_path / "bad.csv"
    options = ["--output", str(output), "--data.num_workers", "0"]
    assert main([str(config), *options]) == 0
    assert list(found(output)) == [("train", "short", "short")]
    assert main([str(config), *options, "--data.frames", "4"]) == 0
    assert output.read_text() == "split,path,kind,reason,source\n"


def test_a_clip_that_kills_or_hangs_its_process_costs_only_itself(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = check.open_clip_source

    def opened(path: Path, *times: float | None) -> object:
        if path.name == "short":
            os.kill(os.getpid(), signal.SIGKILL)
        if path.name == "sound.mp4":
            time.sleep(1000)
        if path.name == "miscounted":
            os._exit(3)
        return sound(path, *times)

    monkeypatch.setattr(check, "open_clip_source", opened)
    output = tmp_path / "bad.csv"
    assert main([str(config), "--output", str(output), "--timeout", "3"]) == 1
    rows = found(output)
    reasons = {key[1]: row["reason"] for key, row in rows.items() if key[2] == "undecodable"}
    assert reasons["short"] == "the process that read it was ended by SIGKILL"
    assert reasons["miscounted"] == "the process that read it ended with code 3"
    assert reasons["sound.mp4"] == "not done within 3 s"
    assert ("test", "gone", "missing") in rows
    assert len(rows) == 7


def test_a_bug_keeps_its_traceback(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*_: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(check, "open_clip_source", opened)
    with pytest.raises(KeyError, match="a bug") as caught:
        main([str(config)])
    assert "in look_at" in str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "error: the following arguments are required: CONFIG"),
        (["demo", "--timeout", "0"], "error: --timeout 0: expected more than 0"),
        (["nix"], "error: CONFIG nix: no such file, and no configuration of that"),
        (["dfew"], "error: data.root: dfew needs the folder that holds"),
        (["dfew", "--data.rot", "x"], "error: unknown option --data.rot; did you mean"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(line)
    assert error.count("\n") == 1


def test_what_is_passed_over_is_listed(
    tmp_path: Path,
    frames_at: Writer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Names that are no UTF-8 as well."""
    for split in ("train", "test"):
        clip = frames_at(tmp_path / f"d/{split}/calm/caf\udce9", 20, "img_{}.jpg")
    frames_at(clip, 2, "flow_x_{}.jpg")
    for name in ("._a.mp4", "\udce9.txt"):
        (tmp_path / "d/train/calm" / name).touch()
    config = tmp_path / "f.yaml"
    config.write_text(yaml.safe_dump({"data": {"dataset": "folder", "root": str(tmp_path / "d")}}))
    monkeypatch.chdir(tmp_path)
    with pytest.warns(DataWarning, match="2 files or folders"):
        assert main([str(config), "--data.num_workers", "1"]) == 0
    out = capsys.readouterr().out
    assert "\npassed over        0       1  (clips with files that are no frames)\n" in out
    assert "no clips: 1 left by the system or a program (._a.mp4), 1 of unknown suffix .txt" in out
    rows = found(tmp_path / "f-bad-clips.csv")
    assert rows.keys() == {
        ("test", "caf\\udce9", "passed over"),
        ("", "._a.mp4", "passed over"),
        ("", "\\udce9.txt", "passed over"),
    }


def test_a_reader_that_disagrees_with_itself_is_found(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_late(self: VideoFile, indices: Sequence[int]) -> np.ndarray:
        return real(self, [max(0, index - (index == 15)) for index in indices])

    real = VideoFile.read
    monkeypatch.setattr(VideoFile, "read", one_late)
    output = tmp_path / "bad.csv"
    assert main([str(config), "--output", str(output)]) == 1
    rows = found(output)
    assert rows["test", "sound.mp4", "inconsistent"]["reason"] == (
        "frame 15 differs when it is read out of order"
    )
    assert ("train", "twice.avi", "inconsistent") not in rows
