"""The summary and the sheet of a small dataset."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from peclip_fast.commands.data.summary import main
from peclip_fast.config.data import DataConfig
from peclip_fast.data.decoding import clip_source
from peclip_fast.data.splits import open_splits
from peclip_fast.prepare.summary import all_facts

Writer = Callable[..., Path]


@pytest.fixture
def root(tmp_path: Path, frames_at: Writer, video_at: Writer) -> Path:
    root = tmp_path / "clips"
    frames_at(root / "train/fear/1", 20)
    frames_at(root / "train/fear/2", 4, height=90, width=90)
    video_at(root / "train/calm/1.mp4", 40)
    video_at(root / "train/calm/2.avi", 20, "mjpeg", pixels="yuvj420p")
    video_at(root / "test/calm/1.mp4", 45)
    (root / "test/fear").mkdir()
    (root / "test/fear/bad.mp4").write_text("no video")
    return root


def test_the_numbers(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "small.yaml"
    config.write_text(f"data: {{dataset: folder, root: {root}, num_workers: 1}}")
    monkeypatch.chdir(tmp_path)
    assert main([str(config)]) == 0
    out, err = capsys.readouterr()
    assert err.endswith("written to small-contact-sheet.png\n")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "calm 2 1 Relaxed Muscles, Closed Lips, Calm Eyes, Slow Blink. (ours)" in lines
    assert any(line.startswith("fear 2 1 Inner Brow") and "(published)" in line for line in lines)
    assert "all 4 2" in lines
    assert "frames 4 / 20 / 40 45 / 45 / 45 least / median / most" in lines
    assert "seconds 0.80 / 1.20 / 1.60 1.80 / 1.80 / 1.80 least / median / most" in lines
    assert "under 16 frames 1 0" in lines
    assert "unreadable 0 1 peclip-fast data check lists them" in lines
    assert "64x48 3 1" in lines
    assert "90x90 1 0" in lines
    codecs = lines[lines.index("codec train test") + 1 :]
    assert sorted(codecs) == ["h264 1 1", "jpg files 2 0", "mjpeg 1 0"]


def test_the_second_time_no_clip_is_opened(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = open_splits(DataConfig(dataset="folder", root=root)).train
    first = all_facts(records, 1, 60)

    def opened(*_: object) -> None:
        raise AssertionError("the clip index knows it")

    monkeypatch.setattr(clip_source, "VideoFile", opened)
    monkeypatch.setattr(clip_source, "FrameFolder", opened)
    assert all_facts(records, 1, 60) == first
    assert [clip.frames for clip in first if clip] == [40, 20, 20, 4]


def test_the_sheet_shows_frames_of_every_class(root: Path, tmp_path: Path) -> None:
    output = tmp_path / "sheet.png"
    options = ["--data.dataset", "folder", "--data.root", str(root), "--data.num_workers", "1"]
    empty = tmp_path / "empty.yaml"
    empty.write_text("data: {frames: 8}")
    assert main([str(empty), *options, "--output", str(output)]) == 0
    sheet = np.asarray(Image.open(io.BytesIO(output.read_bytes())).convert("RGB"))
    assert sheet.shape[1] > 1000
    upper, lower = np.split(sheet[40:], [(len(sheet) - 40) // 2])
    for row, clips in ((upper, 3), (lower, 2)):
        dark = (row.max(axis=2) < 240).mean(axis=0) > 0.5  # columns that pictures fill
        edges = np.flatnonzero(np.diff(dark.astype(int)) == 1)
        assert len(edges) == 3 * clips


def test_text_per_class_is_shown_as_given(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "small.yaml"
    config.write_text(
        f"model: {{texts: [at ease, afraid]}}\ndata: {{dataset: folder, root: {root}, "
        "num_workers: 1}"
    )
    output = ["--output", str(tmp_path / "sheet.png")]
    assert main([str(config), *output]) == 0
    assert "at ease (given)" in capsys.readouterr().out
